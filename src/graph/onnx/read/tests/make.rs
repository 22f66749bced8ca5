//! ONNX files of a few nodes, and what a network makes of a picture.

use super::*;

/// A node that gives the value `y`, whose name it has, too.
pub fn node(op: &str, inputs: &[&str], y: &str, attribute: Vec<Attribute>) -> Node {
    Node {
        input: inputs.iter().map(|&input| input.into()).collect(),
        output: vec![y.into()],
        name: y.into(),
        op_type: op.into(),
        attribute,
        domain: String::new(),
    }
}

pub fn ints(name: &str, ints: &[i64]) -> Attribute {
    let ints = ints.to_vec();
    #[rustfmt::skip]
    return Attribute { name: name.into(), ints, r#type: INTS, ..Attribute::default() };
}

pub fn int(name: &str, i: i64) -> Attribute {
    #[rustfmt::skip]
    return Attribute { name: name.into(), i: Some(i), r#type: INT, ..Attribute::default() };
}

pub fn float(name: &str, f: f32) -> Attribute {
    #[rustfmt::skip]
    return Attribute { name: name.into(), f: Some(f), r#type: FLOAT, ..Attribute::default() };
}

pub fn text(name: &str, s: &str) -> Attribute {
    #[rustfmt::skip]
    return Attribute { name: name.into(), s: Some(s.into()), r#type: STRING, ..Attribute::default() };
}

/// Weights of this shape.
pub fn weights(name: &str, shape: &[usize], values: &[f32]) -> Constant {
    Constant {
        dims: shape.iter().map(|n| *n as i64).collect(),
        data_type: F32,
        name: name.into(),
        raw_data: values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>().into(),
        ..Constant::default()
    }
}

/// Whole numbers, listed instead of as bytes.
pub fn whole(name: &str, values: &[i64]) -> Constant {
    Constant {
        dims: vec![values.len() as i64],
        data_type: I64,
        name: name.into(),
        int64_data: values.to_vec(),
        ..Constant::default()
    }
}

/// A number without axes.
pub fn number(name: &str, value: f32) -> Constant {
    weights(name, &[], &[value])
}

pub fn random(seed: u64, count: usize) -> Vec<f32> {
    let mut rng = stream(seed, 0, 0);
    (0..count).map(|_| rng.random_range(-1.0f32..1.0)).collect()
}

pub fn random_picture(shape: &[usize]) -> Array {
    let data = random(99, shape.iter().product()).iter().map(|x| 4.0 * x).collect();
    let shape = shape.to_vec();
    Array { shape, data }
}

pub fn value(name: &str, axes: &[i64]) -> proto::ValueInfo {
    // An axis of 0 is open.
    let dim = |n: &i64| proto::Dim {
        dim_value: Some(*n).filter(|n| *n > 0),
        dim_param: (*n == 0).then(|| "any".into()),
    };
    let shape = proto::Shape {
        dim: axes.iter().map(dim).collect(),
    };
    let tensor = proto::TensorType {
        elem_type: F32,
        shape: Some(shape),
    };
    let tensor_type = Some(tensor);
    proto::ValueInfo {
        name: name.into(),
        r#type: Some(proto::Type { tensor_type }),
    }
}

/// A file of these, with the input `x` of these axes (0 = open) and the last node's value as output.
pub fn file(axes: [i64; 4], node: Vec<Node>, initializer: Vec<Constant>) -> proto::Model {
    let output = node.last().map_or("x", |node| &node.output[0]).to_owned();
    let graph = proto::Graph {
        node,
        initializer,
        input: vec![value("x", &axes)],
        output: vec![value(&output, &[])],
        ..proto::Graph::default()
    };
    let set = proto::OperatorSet {
        domain: String::new(),
        version: OPSET,
    };
    proto::Model {
        ir_version: 8,
        graph: Some(graph),
        opset_import: vec![set],
        ..proto::Model::default()
    }
}

pub fn with_opset(mut model: proto::Model, version: i64) -> proto::Model {
    model.opset_import[0].version = version;
    model
}

pub fn nothing_beside(name: &str, _: u64, _: usize) -> Result<Vec<u8>> {
    Err(Error::Invalid(format!("`{name}` is not there")))
}

pub fn imported(model: &proto::Model) -> Imported {
    read(model.encode_to_vec(), None, &nothing_beside).unwrap()
}

/// Why a model is refused.
pub fn refused(model: &proto::Model) -> String {
    read(model.encode_to_vec(), None, &nothing_beside)
        .unwrap_err()
        .to_string()
}

/// What the network makes of a picture, one candle operation a node.
pub fn run(network: &Imported, x: &Array) -> Array {
    let network = Network::by_nodes(&network.graph, &network.weights, &Device::Cpu, DType::F32).unwrap();
    let x = Tensor::from_slice(&x.data, x.shape.as_slice(), &Device::Cpu).unwrap();
    let y = &network.forward(&[x], false).unwrap()[0];
    Array {
        shape: y.dims().to_vec(),
        data: y.flatten_all().unwrap().to_vec1().unwrap(),
    }
}

/// Asserts that two values are the same but for rounding.
pub fn assert_near(what: &str, found: &Array, wanted: &Array) {
    assert_eq!(found.shape, wanted.shape, "{what}");
    for (i, (a, b)) in found.data.iter().zip(&wanted.data).enumerate() {
        assert!(
            (a - b).abs() <= 1e-5 * b.abs().max(1.0),
            "{what}: value {i} is {a}, not {b}"
        );
    }
}

pub fn ops(network: &Imported) -> Vec<&Op> {
    network.graph.nodes.iter().map(|node| &node.op).collect()
}
