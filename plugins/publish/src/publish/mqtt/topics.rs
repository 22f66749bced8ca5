//! Where on the broker things are.

/// The topics of one camera: `PREFIX/CAMERA/availability`, `PREFIX/CAMERA/ELEMENT/events` and `PREFIX/CAMERA/ELEMENT/state`.
#[derive(Debug, Clone)]
pub struct Topics {
    prefix: String,
    camera: String,
}

impl Topics {
    /// Checks the prefix, which may have several levels, and the camera's name, which is one. The error names the property.
    pub fn new(prefix: &str, camera: &str) -> Result<Self, String> {
        check("topic-prefix", prefix)?;
        check("camera", camera)?;
        if camera.contains('/') {
            return Err(format!(
                "The property `camera`: `{camera}`: a camera's name is one level of a topic and cannot have a slash"
            ));
        }
        Ok(Self {
            prefix: prefix.into(),
            camera: camera.into(),
        })
    }

    /// The camera's name.
    pub fn camera(&self) -> &str {
        &self.camera
    }

    /// What all topics of the camera begin with.
    pub fn base(&self) -> String {
        format!("{}/{}", self.prefix, self.camera)
    }

    /// `online` or `offline`, retained.
    pub fn availability(&self) -> String {
        format!("{}/availability", self.base())
    }

    /// Every event of the element with this level.
    pub fn events(&self, level: &str) -> String {
        format!("{}/{level}/events", self.base())
    }

    /// Its last event, retained.
    pub fn state(&self, level: &str) -> String {
        format!("{}/{level}/state", self.base())
    }

    /// An element's name as a level of a topic.
    pub fn level(element: &str) -> String {
        let plain = |c: char| {
            if c.is_whitespace() || c.is_control() || "+#/".contains(c) {
                '_'
            } else {
                c
            }
        };
        element.chars().map(plain).collect()
    }
}

/// Checks the content of a property that becomes the beginning or a level of a topic.
pub fn check(property: &str, text: &str) -> Result<(), String> {
    let wrong = |reason: &str| {
        Err(format!(
            "The property `{property}`: `{}`: {reason}",
            text.escape_debug()
        ))
    };
    if text.split('/').any(str::is_empty) {
        return wrong("there must be something before, between and after slashes");
    }
    if text.starts_with('$') {
        return wrong("topics that begin with $ belong to the broker");
    }
    if text.chars().any(|c| "+#".contains(c) || c.is_control()) {
        return wrong("+, # and control characters cannot stand in a topic");
    }
    // MQTT allows 65,535 bytes in all.
    if text.len() > 1024 {
        return wrong("it is too long");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_levels_under_the_camera() {
        let topics = Topics::new("factory/gst-candle", "line 1").unwrap();
        let level = Topics::level("a/b +#\n");
        assert_eq!(level, "a_b____");
        assert_eq!(topics.state(&level), "factory/gst-candle/line 1/a_b____/state");
        assert_eq!(topics.availability(), "factory/gst-candle/line 1/availability");
        for (prefix, camera) in [
            ("", "a"),
            ("a/", "a"),
            ("/a", "a"),
            ("a//b", "a"),
            ("$SYS", "a"),
            ("a/+", "a"),
            ("a", "#"),
            ("a", "b/c"),
            ("a", ""),
            ("a", "b\n"),
        ] {
            let error = Topics::new(prefix, camera).expect_err("no topic");
            assert!(error.contains("The property `"), "{error}");
        }
    }
}
