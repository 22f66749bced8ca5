//! Which elements upstream the results come from.

use std::collections::VecDeque;

use gst::glib;
use gst::prelude::*;

use super::event::Task;

/// The elements upstream that make results, nearest first.
#[derive(Debug, Default)]
pub struct Sources(Vec<(Task, glib::WeakRef<gst::Element>)>);

/// What is known of the element that made a result.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name; that of its factory where it is not found.
    pub element: String,
    /// The file name of its model, if it is found and has one.
    pub model: Option<String>,
}

impl Sources {
    /// Looks at everything linked upstream of `pad`, through bins, queues and whatever stands between.
    pub fn upstream_of(pad: &gst::Pad) -> Self {
        let mut found = Self::default();
        let mut seen = vec![pad.clone()];
        let mut sinks = VecDeque::from([pad.clone()]);
        while let Some(sink) = sinks.pop_front() {
            let mut source = sink.peer();
            // The pad of a bin stands for that of an element in it.
            while let Some(ghost) = source
                .as_ref()
                .and_then(|source| source.downcast_ref::<gst::GhostPad>())
            {
                source = ghost.target();
            }
            let parent = source.and_then(|source| source.parent());
            let next = match parent.map(|parent| parent.downcast::<gst::Element>()) {
                Some(Ok(element)) => {
                    found.add(&element);
                    element.sink_pads()
                }
                // The beginning of a bin, which goes on outside of it.
                Some(Err(parent)) => parent.downcast::<gst::Pad>().into_iter().collect(),
                None => Vec::new(),
            };
            for sink in next {
                if !seen.contains(&sink) {
                    seen.push(sink.clone());
                    sinks.push_back(sink);
                }
            }
        }
        found
    }

    fn add(&mut self, element: &gst::Element) {
        let task = element.factory().and_then(|factory| Task::of_factory(&factory.name()));
        let is_known = || {
            self.0
                .iter()
                .any(|(_, known)| known.upgrade().as_ref() == Some(element))
        };
        if let Some(task) = task
            && !is_known()
        {
            self.0.push((task, element.downgrade()));
        }
    }

    /// Whether one of them is gone, and another may stand in its place.
    pub fn is_outdated(&self) -> bool {
        self.0.iter().any(|(_, element)| element.upgrade().is_none())
    }

    /// The one that a result for `task` comes from: of several, the last, whose result it is.
    pub fn of(&self, task: Task) -> Source {
        let element = self
            .0
            .iter()
            .filter(|(of, _)| *of == task)
            .find_map(|(_, element)| element.upgrade());
        let Some(element) = element else {
            return Source {
                element: task.factory().into(),
                model: None,
            };
        };
        let model = element
            .has_property_with_type("model-file", glib::Type::STRING)
            .then(|| element.property::<Option<String>>("model-file"));
        let file_name = |path: String| Some(std::path::Path::new(&path).file_name()?.to_string_lossy().into_owned());
        Source {
            element: element.name().into(),
            model: model.flatten().and_then(file_name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_to_be_looked_again_when_an_element_is_gone() {
        gst::init().unwrap();
        let make = |name: &str| gst::ElementFactory::make("identity").name(name).build().unwrap();
        let [one, other] = ["one", "other"].map(make);
        let sources = Sources(vec![
            (Task::Anomaly, one.downgrade()),
            (Task::Classify, other.downgrade()),
        ]);
        assert!(!sources.is_outdated() && !Sources::default().is_outdated());
        assert_eq!(sources.of(Task::Classify).element, "other");
        drop(other);
        assert!(sources.is_outdated());
    }
}
