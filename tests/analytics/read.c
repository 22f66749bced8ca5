/* Reads what the candle elements find from GStreamer's analytics metas, and compares it with their messages on the bus.
 *
 *     cc -o read read.c $(pkg-config --cflags --libs gstreamer-analytics-1.0 gstreamer-app-1.0)
 *     ./read 'candletestsrc num-buffers=50 ! candleanomaly model-file=... post-messages=all ! appsink name=out sync=false'
 *
 * Prints what it has read; fails at the first difference. It knows nothing of the plugin but the names of its messages. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <gst/analytics/analytics.h>
#include <gst/app/gstappsink.h>
#include <gst/gst.h>

/* An object on a frame, and the classes it relates to. */
typedef struct
{
  const gchar *label;
  gint x, y, width, height;
  gfloat confidence;
  gboolean is_part;
  gboolean is_classified;
  GstAnalyticsClsMtd classes;
} Object;

static guint frames, messages, anomalous, regions, labels;

#define CHECK(condition, ...) G_STMT_START { \
  if (!(condition)) { \
    g_printerr ("%s: frame %u: ", #condition, frames); \
    g_printerr (__VA_ARGS__); \
    g_printerr ("\n"); \
    exit (1); \
  } \
} G_STMT_END

static GArray *
read_objects (GstBuffer * buffer)
{
  GArray *objects = g_array_new (FALSE, TRUE, sizeof (Object));
  GstAnalyticsRelationMeta *meta = gst_buffer_get_analytics_relation_meta (buffer);
  GstAnalyticsODMtd mtd, whole;
  gpointer state = NULL;

  if (meta == NULL)
    return objects;
  while (gst_analytics_relation_meta_iterate (meta, &state, gst_analytics_od_mtd_get_mtd_type (), &mtd)) {
    Object object = { .label = g_quark_to_string (gst_analytics_od_mtd_get_obj_type (&mtd)) };
    gst_analytics_od_mtd_get_location (&mtd, &object.x, &object.y, &object.width, &object.height, &object.confidence);
    object.is_part = gst_analytics_relation_meta_get_direct_related (meta, mtd.id, GST_ANALYTICS_REL_TYPE_IS_PART_OF,
        gst_analytics_od_mtd_get_mtd_type (), NULL, &whole);
    object.is_classified = gst_analytics_relation_meta_get_direct_related (meta, mtd.id,
        GST_ANALYTICS_REL_TYPE_RELATE_TO, gst_analytics_cls_mtd_get_mtd_type (), NULL, &object.classes);
    g_array_append_val (objects, object);
  }
  return objects;
}

static const gchar *
class_name (GstAnalyticsClsMtd * classes, gsize i)
{
  return g_quark_to_string (gst_analytics_cls_mtd_get_quark (classes, i));
}

static gdouble
number (const GstStructure * s, const gchar * field)
{
  gdouble value;
  CHECK (gst_structure_get_double (s, field, &value), "no number `%s`", field);
  return value;
}

static gboolean
flag (const GstStructure * s, const gchar * field)
{
  gboolean value;
  CHECK (gst_structure_get_boolean (s, field, &value), "no `%s`", field);
  return value;
}

static const GstStructure *
nth_region (const GstStructure * s, guint i)
{
  const GValue *all = gst_structure_get_value (s, "regions");
  if (i >= gst_value_array_get_size (all))
    return NULL;
  return gst_value_get_structure (gst_value_array_get_value (all, i));
}

static gboolean
stands_at (const Object * object, const GstStructure * s)
{
  gint x, y, width, height;
  return gst_structure_get (s, "x", G_TYPE_INT, &x, "y", G_TYPE_INT, &y, "width", G_TYPE_INT, &width,
      "height", G_TYPE_INT, &height, NULL) && object->x == x && object->y == y && object->width == width
      && object->height == height;
}

/* The object with the label, or, where `region` is not NULL, at its place. */
static Object *
find (GArray * objects, const gchar * label, const GstStructure * region)
{
  for (guint i = 0; i < objects->len; i++) {
    Object *object = &g_array_index (objects, Object, i);
    if (region ? stands_at (object, region) : strcmp (object->label, label) == 0)
      return object;
  }
  return NULL;
}

static void
check_anomaly (GArray * objects, const GstStructure * message)
{
  gboolean is_anomalous = flag (message, "anomalous");
  Object *verdict = find (objects, is_anomalous ? "anomalous" : "normal", NULL);
  gdouble score = number (message, "normalized");
  guint count = 0;

  CHECK (verdict && verdict->is_classified, "the verdict is missing");
  gint i = gst_analytics_cls_mtd_get_index_by_quark (&verdict->classes, g_quark_from_static_string ("anomalous"));
  CHECK (i == (is_anomalous ? 0 : 1), "class %d", i);
  gdouble level = gst_analytics_cls_mtd_get_level (&verdict->classes, i);
  CHECK (fabs (level - (is_anomalous ? fmax (score, 0.5) : fmin (score, 0.5))) < 1e-5, "level %f, score %f", level, score);

  for (const GstStructure *region; (region = nth_region (message, count)); count++) {
    Object *object = find (objects, NULL, region);
    CHECK (object && object->is_part && strcmp (object->label, "anomaly") == 0, "region %u is missing", count);
  }
  for (guint k = 0; k < objects->len; k++)
    count -= g_array_index (objects, Object, k).is_part;
  CHECK (count == 0, "there are regions that no message told of");
  anomalous += is_anomalous;
}

static void
check_labels (const Object * object, const GstStructure * told)
{
  const gchar *label = gst_structure_get_string (told, "label");
  const GValue *names = gst_structure_get_value (told, "labels");
  const GValue *confidences = gst_structure_get_value (told, "confidences");
  gdouble before = 1.0;

  labels++;
  if (!flag (told, "known")) {
    CHECK (!object->is_classified, "a class although none is known");
    return;
  }
  CHECK (object->is_classified, "no classes");
  GstAnalyticsClsMtd classes = object->classes;
  CHECK (gst_analytics_cls_mtd_get_length (&classes) == gst_value_array_get_size (names), "not as many classes");
  CHECK (strcmp (class_name (&classes, 0), label) == 0, "%s is not %s", class_name (&classes, 0), label);
  for (guint i = 0; i < gst_value_array_get_size (names); i++) {
    gdouble told_level = g_value_get_double (gst_value_array_get_value (confidences, i));
    gdouble level = gst_analytics_cls_mtd_get_level (&classes, i);
    CHECK (strcmp (class_name (&classes, i), g_value_get_string (gst_value_array_get_value (names, i))) == 0, "class %u", i);
    CHECK (fabs (level - told_level) < 1e-5 && level <= before, "class %u: %f, told %f", i, level, told_level);
    before = level;
  }
}

static void
check_classify (GArray * objects, const GstStructure * message)
{
  const GstStructure *region = nth_region (message, 0);

  if (region == NULL && gst_value_array_get_size (gst_structure_get_value (message, "labels")) > 0) {
    Object *frame = find (objects, gst_structure_get_string (message, "label"), NULL);
    CHECK (frame && !frame->is_part, "the frame's label is missing");
    check_labels (frame, message);
  }
  for (guint i = 0; (region = nth_region (message, i)); i++, regions++) {
    Object *object = find (objects, NULL, region);
    CHECK (object, "region %u is missing", i);
    check_labels (object, region);
  }
}

/* Compares a frame with the messages about it, which are on the bus before it comes. */
static void
check (GstSample * sample, GstBus * bus)
{
  GstBuffer *buffer = gst_sample_get_buffer (sample);
  GArray *objects = read_objects (buffer);
  GstMessage *message;
  GError *error;

  for (; (message = gst_bus_peek (bus)); gst_message_unref (message)) {
    const GstStructure *s = gst_message_get_structure (message);
    guint64 timestamp = 0;
    // May come while the last frame is read, and is waited for afterwards.
    if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS)
      break;
    if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR) {
      gst_message_parse_error (message, &error, NULL);
      CHECK (FALSE, "%s", error->message);
    }
    if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ELEMENT && gst_structure_get_uint64 (s, "timestamp", &timestamp)) {
      if (timestamp > GST_BUFFER_PTS (buffer))
        break;
      CHECK (timestamp == GST_BUFFER_PTS (buffer), "a message about a frame that is over");
      messages++;
      if (gst_structure_has_name (s, "candleanomaly"))
        check_anomaly (objects, s);
      else if (gst_structure_has_name (s, "candleclassify"))
        check_classify (objects, s);
    }
    gst_message_unref (gst_bus_pop (bus));
  }
  g_clear_pointer (&message, gst_message_unref);
  g_array_unref (objects);
  frames++;
}

int
main (int argc, char **argv)
{
  GError *error = NULL;
  GstSample *sample;

  gst_init (&argc, &argv);
  GstElement *pipeline = argc == 2 ? gst_parse_launch (argv[1], &error) : NULL;
  if (pipeline == NULL || error) {
    g_printerr ("usage: read 'PIPELINE ! appsink name=out': %s\n", error ? error->message : "one pipeline, please");
    return 2;
  }
  GstAppSink *sink = GST_APP_SINK (gst_bin_get_by_name (GST_BIN (pipeline), "out"));
  GstBus *bus = gst_element_get_bus (pipeline);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  while ((sample = gst_app_sink_pull_sample (sink))) {
    check (sample, bus);
    gst_sample_unref (sample);
  }
  GstMessage *end = gst_bus_timed_pop_filtered (bus, GST_CLOCK_TIME_NONE, GST_MESSAGE_ERROR | GST_MESSAGE_EOS);
  if (GST_MESSAGE_TYPE (end) == GST_MESSAGE_ERROR) {
    gst_message_parse_error (end, &error, NULL);
    g_printerr ("%s\n", error->message);
    return 1;
  }
  gst_message_unref (end);
  g_print ("%u frames, %u messages, %u anomalous, %u regions, %u labels\n", frames, messages, anomalous, regions, labels);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (bus);
  gst_object_unref (sink);
  gst_object_unref (pipeline);
  return 0;
}
