//! Bytes that no exporter wrote: an error or a network, never a panic, and no more memory than a file of that kind may take.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

/// The test network of every op, with few weights.
fn valid() -> Vec<u8> {
    let graph = write::tests::graph();
    let shapes = [vec![1, 4, 8, 8]];
    let shaped = |(name, shape): (String, Vec<usize>)| {
        let data = vec![0.5; shape.iter().product()];
        (name, Array { shape, data })
    };
    let weights: Weights = graph.weight_shapes(&shapes).unwrap().into_iter().map(shaped).collect();
    let axes = vec![Axis::Fixed(1), Axis::Fixed(4), Axis::Fixed(8), Axis::Fixed(8)];
    graph.to_onnx(&weights, &[axes], &shapes, []).unwrap()
}

/// Reads it; what is read is a network whose shapes can be asked for.
fn try_read(bytes: Vec<u8>) -> bool {
    let beside = |_: &str, _: u64, bytes: usize| Ok(vec![0; bytes.min(1 << 20)]);
    match read(bytes, None, &beside) {
        Ok(found) => {
            found.graph.check().unwrap();
            let inputs = found.inputs.iter().map(|axes| axes.map(|n| n.unwrap_or(8)).to_vec());
            let _ = found.graph.weight_shapes(&inputs.collect::<Vec<_>>());
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

/// The same, and says of which random case it was where it panics.
fn try_case(seed: u64, case: u64, bytes: Vec<u8>) -> bool {
    catch_unwind(AssertUnwindSafe(|| try_read(bytes))).unwrap_or_else(|_| panic!("stream({seed}, {case}, 0)"))
}

#[test]
fn files_that_end_too_early() {
    let whole = valid();
    assert!(try_read(whole.clone()));
    let step = whole.len() / 3000 + 1;
    let read = (0..whole.len())
        .step_by(step)
        .filter(|&length| try_read(whole[..length].to_vec()));
    // What stands last is the version of the ops, without which there is none.
    assert_eq!(read.count(), 0);
}

#[test]
fn bytes_that_changed() {
    let whole = valid();
    let mut refused = 0;
    for case in 0..4000 {
        let mut rng = stream(51, case, 0);
        let mut bytes = whole.clone();
        for _ in 0..rng.random_range(1..6) {
            let at = rng.random_range(0..bytes.len());
            bytes[at] = rng.random();
        }
        refused += u32::from(!try_case(51, case, bytes));
    }
    assert!(refused > 100, "{refused} of 4000: they hit nothing");
}

#[test]
fn messages_that_changed() {
    let whole = proto::Model::decode(valid().as_slice()).unwrap();
    let extremes = [0, 1, -1, 2, 3, 255, 65_536, 1 << 31, 1 << 40, i64::MAX, i64::MIN];
    let mut read = 0;
    for case in 0..20_000u64 {
        let mut rng = stream(52, case, 0);
        let mut model = whole.clone();
        let graph = model.graph.as_mut().unwrap();
        for _ in 0..rng.random_range(1..4) {
            let count = graph.node.len();
            let at = rng.random_range(0..count);
            let other = graph.node[rng.random_range(0..count)].clone();
            let number = extremes[rng.random_range(0..extremes.len())];
            let node = &mut graph.node[at];
            let tensor = rng.random_range(0..graph.initializer.len());
            match rng.random_range(0..10) {
                0 => node.op_type = other.op_type,
                1 => drop(node.input.pop()),
                2 => node.input.extend(other.output),
                3 => node.input = other.input,
                4 => node.attribute = other.attribute,
                5 => node.attribute.clear(),
                6 => {
                    for attribute in &mut node.attribute {
                        attribute.i = attribute.i.map(|_| number);
                        attribute.f = attribute.f.map(|_| f32::from_bits(rng.random()));
                        let ints = attribute.ints.len();
                        if ints > 0 {
                            attribute.ints[rng.random_range(0..ints)] = number;
                        }
                    }
                }
                7 => graph.initializer[tensor].dims.push(number),
                8 => graph.initializer[tensor].data_type = rng.random_range(0..17),
                _ => graph.input[0] = value("x", &[1, number, extremes[case as usize % extremes.len()], 8]),
            }
        }
        read += u32::from(try_case(52, case, model.encode_to_vec()));
    }
    assert!((100..19_900).contains(&read), "{read} of 20000 were read");
}

#[test]
fn a_file_of_nothing_but_fields_is_not_decoded() {
    // A million nodes of two bytes each, a hundred times as much in memory.
    let nodes = [0x0a, 0].repeat(MOST_FIELDS + 1);
    let mut bytes = vec![0x3a];
    prost::encode_length_delimiter(nodes.len(), &mut bytes).unwrap();
    bytes.extend(nodes);
    let reason = read(bytes, None, &nothing_beside).unwrap_err().to_string();
    assert!(
        reason.contains("more than 1048576 fields and listed numbers"),
        "{reason}"
    );
    // Whole numbers of one byte each take eight and more.
    let numbers = file([1; 4], vec![], vec![whole("n", &vec![0; MOST_FIELDS + 1])]);
    assert!(refused(&numbers).contains("more than 1048576"));
}

#[test]
fn whole_numbers_that_are_too_many_are_not_kept() {
    // As stored they are within what a file may have, in memory they are 16 times that.
    let flags = |name: &str, count: usize| Constant {
        dims: vec![count as i64],
        data_type: proto::BOOL,
        name: name.into(),
        data_location: proto::EXTERNAL,
        external_data: vec![proto::Entry {
            key: "location".into(),
            value: "flags".into(),
        }],
        ..Constant::default()
    };
    let asked = std::cell::Cell::new(0);
    let beside = |_: &str, _: u64, bytes: usize| {
        asked.set(asked.get() + bytes);
        Ok(vec![0; bytes])
    };
    let read = |op: &str, input: &str, tensors: Vec<Constant>| {
        let model = file([1, 1, 4, 4], vec![node(op, &["x", input], "y", vec![])], tensors);
        read(model.encode_to_vec(), None, &beside)
    };
    let long = || vec![flags("long", 1 << 31)];
    let reason = read("Reshape", "long", long()).unwrap_err().to_string();
    assert!(
        reason.contains("tensor `long` has 2147483648 whole numbers"),
        "{reason}"
    );
    assert!(read("Relu", "", long()).is_ok());
    assert_eq!(asked.get(), 0);
    // Many that are each allowed.
    let many = (0..200).map(|i| flags(&format!("t{i}"), 1 << 16)).collect();
    assert!(read("Relu", "", many).is_ok());
    assert_eq!(asked.get(), 1 << 22);
}

#[test]
fn lists_that_double_end_early() {
    let mut nodes = vec![node("Shape", &["x"], "s0", vec![])];
    for i in 0..64 {
        let before = format!("s{i}");
        nodes.push(node(
            "Concat",
            &[&before, &before],
            &format!("s{}", i + 1),
            vec![int("axis", 0)],
        ));
    }
    let reason = refused(&file([1, 1, 4, 4], nodes, vec![]));
    assert!(
        reason.contains("`s5` (Concat): it works out 128 whole numbers"),
        "{reason}"
    );
}

#[test]
fn channels_that_double_end_early() {
    for side in [0, 4] {
        let mut nodes = vec![node("Identity", &["x"], "s0", vec![])];
        for i in 0..70 {
            let before = format!("s{i}");
            nodes.push(node(
                "Concat",
                &[&before, &before],
                &format!("s{}", i + 1),
                vec![int("axis", 1)],
            ));
        }
        let model = file([1, 1, side, side], nodes, vec![]);
        assert!(!try_read(model.encode_to_vec()) || side == 0);
    }
}

#[test]
fn many_nodes_of_one_name_take_no_longer() {
    let mut nodes = vec![node("Relu", &["x"], "v0", vec![])];
    for i in 0..9000 {
        let mut next = node("Relu", &[&format!("v{i}")], &format!("v{}", i + 1), vec![]);
        next.name = "same".into();
        nodes.push(next);
    }
    let found = imported(&file([1, 1, 4, 4], nodes, vec![]));
    assert_eq!(found.graph.outputs, ["same.9000"]);
}

#[test]
fn a_kernel_that_padding_makes_huge_is_refused() {
    // A thousand kernels of one value each, to be made of 31x31.
    let conv = node("Conv", &["x", "w"], "c", vec![ints("pads", &[0, 0, 1 << 40, 1 << 40])]);
    let w = weights("w", &[1000, 1, 1, 1], &[1.0; 1000]);
    assert!(refused(&file([1, 1, 8, 8], vec![conv], vec![w])).contains("is not read"));
}

#[test]
fn long_lists_are_not_worked_out() {
    let long = || whole("long", &[1; 1000]);
    for (node, words) in [
        (
            node("Add", &["long", "long"], "y", vec![]),
            "it works out 1000 whole numbers",
        ),
        (
            node("Reshape", &["long", "pairs"], "y", vec![]),
            "it works out 1000 whole numbers",
        ),
        (
            node("Slice", &["long", "zero", "end"], "y", vec![]),
            "it works out 900 whole numbers",
        ),
        (node("Gather", &["pairs", "long"], "y", vec![]), "more than 64"),
        (
            node(
                "ConstantOfShape",
                &["end"],
                "y",
                vec![Attribute {
                    t: Some(whole("", &[0])),
                    ..text("value", "")
                }],
            ),
            "more than 64",
        ),
        (
            node("Pad", &["x", "long"], "y", vec![]),
            "pads that depend on the picture",
        ),
        (
            node("Reshape", &["x", "long"], "y", vec![]),
            "to [1, 1, 1, 1, 1, 1, 1, 1]",
        ),
    ] {
        let lists = vec![
            long(),
            whole("pairs", &[-1, 2]),
            whole("zero", &[0]),
            whole("end", &[900]),
        ];
        let reason = refused(&file([1, 1, 4, 4], vec![node], lists));
        assert!(reason.contains(words), "{words}: {reason}");
    }
}
