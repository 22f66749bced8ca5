//! Files that are no model, each by one fault. The reader's tests are not alone in using them: those of the program and of
//! the elements take this file in by its path.

/// A file, and what its error must say.
pub struct Damaged {
    pub bytes: Vec<u8>,
    pub reason: &'static str,
}

/// What a denoising model of one weight is written from, so that one part of it can be wrong.
struct Parts {
    format: &'static str,
    task: &'static str,
    activation: &'static str,
    gain_input: &'static str,
    tensor: &'static str,
    shape: &'static str,
    gain: f32,
}

const GOOD: Parts = Parts {
    format: "gst-candle/1",
    task: "denoise",
    activation: "relu",
    gain_input: "input",
    tensor: "gain.weight",
    shape: "[1,1,1,1]",
    gain: 0.5,
};

impl Parts {
    fn bytes(&self) -> Vec<u8> {
        let graph = format!(
            r#"{{"nodes":[{{"name":"input","op":"input","channels":1}},
            {{"name":"gain","op":"conv2d","out":1,"kernel":1,"stride":1,"padding":0,"padding_mode":"zero","dilation":1,
              "groups":1,"bias":false,"frozen":false,"inputs":["{}"]}},
            {{"name":"clip","op":"{}","inputs":["gain"]}}],"outputs":["clip"]}}"#,
            self.gain_input, self.activation
        );
        let input = r#"{"color":"gray","size":null,"multiple_of":1,"resize":"stretch","normalization":{"kind":"none"},"frames":1,"extra":[]}"#;
        // Rust quotes plain text as JSON does.
        let header = format!(
            r#"{{"__metadata__":{{"format":{:?},"task":{:?},"graph":{graph:?},"input":{input:?}}},
            {:?}:{{"dtype":"F32","shape":{},"data_offsets":[0,4]}}}}"#,
            self.format, self.task, self.tensor, self.shape
        );
        let length = (header.len() as u64).to_le_bytes();
        [&length[..], header.as_bytes(), &self.gain.to_le_bytes()].concat()
    }

    fn damaged(&self, reason: &'static str) -> Damaged {
        Damaged {
            bytes: self.bytes(),
            reason,
        }
    }
}

/// A file with nothing wrong: a model for the task.
pub fn whole(task: &'static str) -> Vec<u8> {
    Parts { task, ..GOOD }.bytes()
}

pub fn an_empty_file_is_refused() -> Damaged {
    Damaged {
        bytes: Vec::new(),
        reason: "0 bytes: empty",
    }
}

pub fn a_truncated_file_is_refused() -> Damaged {
    let mut bytes = GOOD.bytes();
    bytes.truncate(bytes.len() - 2);
    Damaged {
        bytes,
        reason: "truncated",
    }
}

pub fn a_picture_is_refused() -> Damaged {
    Damaged {
        bytes: b"\x89PNG\r\n\x1a\n and so on".into(),
        reason: "not a safetensors file",
    }
}

pub fn a_header_of_2_to_the_60_bytes_is_refused() -> Damaged {
    let mut bytes = GOOD.bytes();
    bytes[..8].copy_from_slice(&(1u64 << 60).to_le_bytes());
    Damaged {
        bytes,
        reason: "a header of 1152921504606846976 bytes",
    }
}

pub fn another_version_of_the_format_is_refused() -> Damaged {
    Parts {
        format: "gst-candle/2",
        ..GOOD
    }
    .damaged("key `format` is `gst-candle/2`")
}

pub fn a_missing_weight_is_named() -> Damaged {
    Parts {
        tensor: "gain.wait",
        ..GOOD
    }
    .damaged("tensor `gain.weight` is missing")
}

pub fn a_weight_of_another_shape_is_named() -> Damaged {
    Parts { shape: "[1,1]", ..GOOD }.damaged("tensor `gain.weight` has shape [1, 1]")
}

pub fn a_weight_that_is_not_a_number_is_named() -> Damaged {
    Parts { gain: f32::NAN, ..GOOD }.damaged("tensor `gain.weight`: value 0 is NaN")
}

pub fn an_unknown_op_is_named() -> Damaged {
    Parts {
        activation: "attention",
        ..GOOD
    }
    .damaged("key `graph`: node `clip`: op `attention`")
}

pub fn a_cyclic_graph_is_refused() -> Damaged {
    Parts {
        gain_input: "clip",
        ..GOOD
    }
    .damaged("key `graph`: node `gain`: cycle: gain -> clip -> gain")
}

/// A test of its own for each of the files above, which calls `$refuse` with it.
macro_rules! each_damage {
    ($refuse:ident) => {
        each_damage!($refuse:
            an_empty_file_is_refused
            a_truncated_file_is_refused
            a_picture_is_refused
            a_header_of_2_to_the_60_bytes_is_refused
            another_version_of_the_format_is_refused
            a_missing_weight_is_named
            a_weight_of_another_shape_is_named
            a_weight_that_is_not_a_number_is_named
            an_unknown_op_is_named
            a_cyclic_graph_is_refused
        );
    };
    ($refuse:ident: $($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                $refuse(&damage::$name());
            }
        )*
    };
}
