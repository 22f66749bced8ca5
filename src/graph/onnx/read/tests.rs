use candle_core::{DType, Device, Tensor};
use rand::RngExt;

use super::*;
use crate::data::random::stream;
use crate::exec::candle::Network;
use crate::graph::onnx::proto::{Attribute, FLOAT, I64, INT, INTS, Node, OPSET, STRING, Tensor as Constant};
use crate::graph::onnx::{Axis, write};
use crate::graph::{Array, Op};

mod arithmetic;
mod hostile;
mod layers;
mod make;
mod shape;

use make::*;

#[test]
fn what_is_written_is_read_as_the_same_network() {
    let graph = write::tests::graph();
    let shapes = [vec![1, 4, 8, 8]];
    let mut rng = stream(41, 0, 0);
    let weights: Weights = graph
        .weight_shapes(&shapes)
        .unwrap()
        .into_iter()
        .map(|(name, shape)| {
            let low = if name.ends_with("running_var") { 0.5 } else { -0.5 };
            let count = shape.iter().product();
            let data = (0..count).map(|_| rng.random_range(low..low + 1.0)).collect();
            (name, Array { shape, data })
        })
        .collect();
    let x = random_picture(&shapes[0]);
    let original = Imported {
        graph: graph.clone(),
        weights: weights.clone(),
        inputs: Vec::new(),
        log_softmax: false,
        notes: BTreeMap::new(),
    };
    let wanted = run(&original, &x);
    let open = ["height", "width"].map(|name| Axis::Named(name.into()));
    let fixed = [Axis::Fixed(8), Axis::Fixed(8)];
    for (sides, [height, width]) in [([None, None], open), ([Some(8), Some(8)], fixed)] {
        let axes = vec![Axis::Fixed(1), Axis::Fixed(4), height, width];
        let notes = [("author".to_owned(), "me".to_owned())];
        let bytes = graph.to_onnx(&weights, &[axes], &shapes, notes).unwrap();
        let found = read(bytes, None, &nothing_beside).unwrap();
        assert_eq!(found.graph, graph);
        assert_eq!(found.weights, weights);
        assert_eq!(found.inputs, [[Some(1), Some(4), sides[0], sides[1]]]);
        assert_eq!(found.notes["author"], "me");
        assert_near("round trip", &run(&found, &x), &wanted);
    }
}

#[test]
fn opsets_from_7_to_24_are_read() {
    let relu = || file([1, 1, 4, 4], vec![node("Relu", &["x"], "y", vec![])], vec![]);
    for version in [7, 13, 24] {
        assert_eq!(imported(&with_opset(relu(), version)).graph.outputs, ["y"]);
    }
    for version in [0, 6, 25, -1, i64::MAX] {
        let reason = refused(&with_opset(relu(), version));
        assert!(
            reason.contains(&format!("opset {version}: this program reads 7 to 24")),
            "{reason}"
        );
    }
    let mut named = relu();
    named.opset_import[0].domain = "ai.onnx".into();
    assert_eq!(imported(&named).graph.outputs, ["y"]);
    named.opset_import.clear();
    assert!(refused(&named).contains("opset 0"));
}

#[test]
fn inputs_are_pictures_in_float32() {
    let model = |axes: &[i64], elem_type: i32| {
        let mut model = file([1; 4], vec![node("Relu", &["x"], "y", vec![])], vec![]);
        let mut input = value("x", axes);
        if let Some(tensor) = input.r#type.as_mut().and_then(|kind| kind.tensor_type.as_mut()) {
            tensor.elem_type = elem_type;
        }
        model.graph.as_mut().unwrap().input = vec![input];
        model
    };
    assert_eq!(
        imported(&model(&[0, 3, 0, 0], F32)).inputs,
        [[None, Some(3), None, None]]
    );
    assert!(refused(&model(&[1, 3, 8], F32)).contains("input `x` has 3 axes: expected pictures of 4"));
    assert!(refused(&model(&[1, 0, 8, 8], F32)).contains("input `x` does not say how many channels"));
    assert!(refused(&model(&[1, 3, 8, 8], 10)).contains("input `x` takes values of float16"));
    assert!(refused(&model(&[1, 3, 8, 8], 2)).contains("uint8"));
    let mut none = model(&[1, 3, 8, 8], F32);
    none.graph.as_mut().unwrap().input.clear();
    assert!(refused(&none).contains("no inputs"));
    none.graph = None;
    assert!(refused(&none).contains("no graph"));
}

#[test]
fn what_is_not_read_is_named_with_its_node() {
    let cases = [
        (
            node("Einsum", &["x"], "layer.7", vec![]),
            "`layer.7` (Einsum): this op is not read; docs/onnx.md",
        ),
        (
            node("Relu", &["z"], "r", vec![]),
            "`r` (Relu): nothing gives its input `z`",
        ),
        (node("Relu", &[], "r", vec![]), "its input 0 is missing"),
        (node("Identity", &[], "r", vec![]), "its input 0 is missing"),
        (node("Shape", &[], "r", vec![]), "its input 0 is missing"),
        (node("Gather", &[], "r", vec![]), "its input 0 is missing"),
        (node("Concat", &[], "r", vec![]), "it has no inputs"),
        (node("Add", &["x"], "r", vec![]), "its input 1 is missing"),
        (
            node("Softmax", &["x"], "s", vec![int("axis", 3)]),
            "axis 3: only a softmax over channels",
        ),
        (node("Softmax", &["x"], "s", vec![]), "axis 3"),
        (
            node("Concat", &["x", "x"], "c", vec![int("axis", 2)]),
            "axis 2: only channels",
        ),
        (
            node("Concat", &["x", "x"], "c", vec![int("axis", 7)]),
            "axis 7 of a value of 4 axes",
        ),
        (
            node("Resize", &["x", "", "two"], "r", vec![text("mode", "cubic")]),
            "mode cubic",
        ),
        (node("DepthToSpace", &["x"], "d", vec![int("blocksize", 2)]), "mode DCR"),
        (
            node(
                "DepthToSpace",
                &["x"],
                "d",
                vec![int("blocksize", 0), text("mode", "CRD")],
            ),
            "blocksize 0",
        ),
        (
            node("SpaceToDepth", &["x"], "s", vec![int("blocksize", i64::MAX)]),
            "blocksize",
        ),
        (node("Constant", &[], "c", vec![]), "a kind that is not read"),
        (
            node("Pad", &["x"], "p", vec![ints("pads", &[0, 1, 0, 0, 0, 1, 0, 0])]),
            "pads [0, 1, 0, 0, 0, 1, 0, 0]",
        ),
        (
            node("Pad", &["x"], "p", vec![ints("pads", &[0, 0, -1, 0, 0, 0, 0, 0])]),
            "from 0 on",
        ),
        (
            node("Clip", &["x", "three"], "c", vec![]),
            "its input 1 is not one number",
        ),
        (node("Div", &["x", "x"], "d", vec![]), "division of two pictures"),
        (node("Mul", &["x", "three"], "m", vec![]), "a constant of shape [3]"),
        (node("Conv", &["x", "three"], "c", vec![]), "weights of shape [3]"),
        (node("Conv", &["x", "x"], "c", vec![]), "its input 1 is not a constant"),
        (node("Gemm", &["x", "three"], "g", vec![]), "read of what is flattened"),
        (
            node("MaxPool", &["x"], "m", vec![ints("kernel_shape", &[2, 3])]),
            "kernel_shape [2, 3]",
        ),
        (node("Dropout", &["x", "", "yes"], "d", vec![]), "written for training"),
    ];
    for (node, words) in cases {
        let two = weights("two", &[4], &[1.0, 1.0, 2.0, 2.0]);
        let three = weights("three", &[3], &[1.0, 2.0, 3.0]);
        let model = file([1, 4, 6, 6], vec![node.clone()], vec![two, three, whole("yes", &[1])]);
        let reason = refused(&model);
        assert!(reason.contains(words), "{words}: {reason}");
        assert!(
            reason.starts_with(&format!("ONNX node `{}` ({})", node.name, node.op_type)),
            "{reason}"
        );
    }
    let mut other = node("Gelu", &["x"], "g", vec![]);
    other.domain = "com.microsoft".into();
    other.name.clear();
    let reason = refused(&file([1, 4, 6, 6], vec![other], vec![]));
    assert!(reason.contains("`g` (Gelu): an op of `com.microsoft`"), "{reason}");
}

#[test]
fn a_tensor_that_is_not_float32_is_named_where_it_is_needed() {
    let half = Constant {
        dims: vec![1],
        data_type: 10,
        name: "half".into(),
        ..Constant::default()
    };
    let relu = node("Relu", &["x"], "y", vec![]);
    let add = node("Add", &["x", "half"], "z", vec![]);
    imported(&file([1, 1, 4, 4], vec![relu], vec![half.clone()]));
    let reason = refused(&file([1, 1, 4, 4], vec![add], vec![half]));
    assert!(
        reason.contains("`z` (Add): tensor `half` is of float16: export the network in float32"),
        "{reason}"
    );
}

#[test]
fn weights_beside_the_file_are_asked_for_by_place() {
    let entry = |key: &str, value: &str| proto::Entry {
        key: key.into(),
        value: value.into(),
    };
    let mut scale = weights("scale", &[1, 2, 1, 1], &[]);
    scale.data_location = proto::EXTERNAL;
    let model = |entries: &[(&str, &str)]| {
        let mut scale = scale.clone();
        scale.external_data = entries.iter().map(|(key, value)| entry(key, value)).collect();
        let mul = node("Mul", &["x", "scale"], "y", vec![]);
        file([1, 2, 3, 3], vec![mul], vec![scale]).encode_to_vec()
    };
    let beside = |name: &str, offset: u64, bytes: usize| {
        assert_eq!((name, offset, bytes), ("net.data", 16, 8));
        Ok([3.0f32, -2.0].iter().flat_map(|x| x.to_le_bytes()).collect())
    };
    let whole = [("location", "net.data"), ("offset", "16"), ("length", "8")];
    for entries in [&whole[..], &whole[..2]] {
        let found = read(model(entries), None, &beside).unwrap();
        assert_eq!(found.weights["y.weight"].data, [3.0, -2.0]);
    }
    let reason = |entries: &[(&str, &str)]| read(model(entries), None, &nothing_beside).unwrap_err().to_string();
    assert!(reason(&whole).contains("tensor `scale`: `net.data` is not there"));
    assert!(reason(&[whole[0], whole[1], ("length", "9")]).contains("tensor `scale`: its length"));
    assert!(reason(&[whole[0], ("offset", "-1")]).contains("tensor `scale`: where it lies"));
    // A file that is shorter than it should be is not taken for what it lacks.
    let short = |_: &str, _: u64, _: usize| Ok(vec![0; 4]);
    let reason = read(model(&whole), None, &short).unwrap_err().to_string();
    assert!(reason.contains("does not hold the values"), "{reason}");
}

#[test]
fn names_become_legal_and_differ() {
    let nodes = vec![
        node("Relu", &["x"], "/layer 1/act/Relu_output_0", vec![]),
        node(
            "Relu",
            &["/layer 1/act/Relu_output_0"],
            "layer_1.act.Relu_output_0",
            vec![],
        ),
        node("Relu", &["layer_1.act.Relu_output_0"], "ü", vec![]),
        node("Relu", &["ü"], "/", vec![]),
        node("Relu", &["/"], &"long".repeat(99), vec![]),
        node("Relu", &[&"long".repeat(99)], &"long".repeat(98), vec![]),
    ];
    let found = imported(&file([1, 1, 4, 4], nodes, vec![]));
    let names: Vec<&str> = found.graph.nodes.iter().map(|node| node.name.as_str()).collect();
    let long = "long".repeat(32);
    assert_eq!(
        names,
        [
            "x",
            "layer_1.act.Relu_output_0",
            "layer_1.act.Relu_output_0.2",
            "_",
            "node",
            &long,
            &format!("{}.2", "long".repeat(30))
        ]
    );
}

#[test]
fn what_no_output_needs_is_left_out() {
    let nodes = vec![
        node("Mul", &["x", "scale"], "dead", vec![]),
        node("Relu", &["x"], "y", vec![]),
    ];
    let found = imported(&file(
        [1, 2, 4, 4],
        nodes,
        vec![weights("scale", &[2, 1, 1], &[1.0, 2.0])],
    ));
    assert_eq!(found.graph.nodes.len(), 2);
    assert!(found.weights.is_empty());
}
