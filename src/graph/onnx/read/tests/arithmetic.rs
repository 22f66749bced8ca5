use super::*;

/// Asserts that a network of `nodes` is `wanted` of each value, which gets its channel, too.
fn assert_is(what: &str, model: &proto::Model, wanted: impl Fn(usize, f32) -> f32) {
    let found = imported(model);
    let x = random_picture(&[2, 3, 4, 5]);
    let data = x.data.iter().enumerate().map(|(i, x)| wanted(i / 20 % 3, *x)).collect();
    let shape = x.shape.clone();
    assert_near(what, &run(&found, &x), &Array { shape, data });
}

#[test]
fn activations_and_scalars() {
    type Case = (&'static str, Vec<Node>, fn(f32) -> f32);
    let one = |op: &str, inputs: &[&str], attributes: Vec<Attribute>| vec![node(op, inputs, "y", attributes)];
    let cases: [Case; 30] = [
        ("relu", one("Relu", &["x"], vec![]), |x| x.max(0.0)),
        ("leaky", one("LeakyRelu", &["x"], vec![]), |x| x.max(0.01 * x)),
        ("leaky 0.2", one("LeakyRelu", &["x"], vec![float("alpha", 0.2)]), |x| {
            x.max(0.2 * x)
        }),
        ("prelu", one("PRelu", &["x", "half"], vec![]), |x| x.max(0.5 * x)),
        ("sigmoid", one("Sigmoid", &["x"], vec![]), |x| 1.0 / (1.0 + (-x).exp())),
        ("tanh", one("Tanh", &["x"], vec![]), f32::tanh),
        ("neg", one("Neg", &["x"], vec![]), |x| -x),
        ("relu6", one("Clip", &["x", "zero", "two"], vec![]), |x| {
            x.clamp(0.0, 2.0)
        }),
        ("clip", one("Clip", &["x", "minus", "half"], vec![]), |x| {
            x.clamp(-1.5, 0.5)
        }),
        (
            "clip attributes",
            one("Clip", &["x"], vec![float("min", -1.0), float("max", 2.0)]),
            |x| x.clamp(-1.0, 2.0),
        ),
        ("clip below", one("Clip", &["x", "half"], vec![]), |x| x.max(0.5)),
        ("clip above", one("Clip", &["x", "", "half"], vec![]), |x| x.min(0.5)),
        ("clip not", one("Clip", &["x"], vec![]), |x| x),
        ("clip all", one("Clip", &["x", "least", "most"], vec![]), |x| x),
        ("hard sigmoid", one("HardSigmoid", &["x"], vec![]), |x| {
            (0.2 * x + 0.5).clamp(0.0, 1.0)
        }),
        (
            "hard sigmoid 1/6",
            one("HardSigmoid", &["x"], vec![float("alpha", 1.0 / 6.0)]),
            |x| (x / 6.0 + 0.5).clamp(0.0, 1.0),
        ),
        ("hard swish", one("HardSwish", &["x"], vec![]), |x| {
            x * (x / 6.0 + 0.5).clamp(0.0, 1.0)
        }),
        ("add", one("Add", &["x", "half"], vec![]), |x| x + 0.5),
        ("add before", one("Add", &["half", "x"], vec![]), |x| x + 0.5),
        ("sub", one("Sub", &["x", "half"], vec![]), |x| x - 0.5),
        ("sub before", one("Sub", &["half", "x"], vec![]), |x| 0.5 - x),
        ("mul", one("Mul", &["x", "half"], vec![]), |x| x * 0.5),
        ("div", one("Div", &["x", "half"], vec![]), |x| x / 0.5),
        ("identity", one("Identity", &["x"], vec![]), |x| x),
        ("dropout", one("Dropout", &["x"], vec![]), |x| x),
        ("dropout off", one("Dropout", &["x", "half", "off"], vec![]), |x| x),
        ("cast", one("Cast", &["x"], vec![int("to", 1)]), |x| x),
        ("square", one("Mul", &["x", "x"], vec![]), |x| x * x),
        (
            "silu",
            vec![
                node("Sigmoid", &["x"], "s", vec![]),
                node("Mul", &["x", "s"], "y", vec![]),
            ],
            |x| x / (1.0 + (-x).exp()),
        ),
        (
            "silu turned",
            vec![
                node("Sigmoid", &["x"], "s", vec![]),
                node("Mul", &["s", "x"], "y", vec![]),
            ],
            |x| x / (1.0 + (-x).exp()),
        ),
    ];
    for (what, nodes, wanted) in cases {
        let constants = vec![
            number("zero", 0.0),
            weights("half", &[1], &[0.5]),
            number("two", 2.0),
            number("minus", -1.5),
            number("least", f32::MIN),
            number("most", f32::INFINITY),
            Constant {
                data_type: proto::BOOL,
                dims: vec![],
                int64_data: vec![],
                raw_data: vec![0].into(),
                ..whole("off", &[])
            },
        ];
        assert_is(what, &file([0, 3, 4, 5], nodes.clone(), constants.clone()), |_, x| {
            wanted(x)
        });
        // Nothing of it needs the size.
        assert_is(what, &file([0, 3, 0, 0], nodes, constants), |_, x| wanted(x));
    }
}

#[test]
fn a_silu_is_one_op_unless_its_sigmoid_is_needed() {
    let gate = || {
        vec![
            node("Sigmoid", &["x"], "s", vec![]),
            node("Mul", &["x", "s"], "y", vec![]),
        ]
    };
    assert_eq!(ops(&imported(&file([1, 3, 4, 4], gate(), vec![])))[1..], [&Op::Silu]);
    let mut both = gate();
    both.push(node("Add", &["y", "s"], "z", vec![]));
    let found = imported(&file([1, 3, 4, 5], both, vec![]));
    assert_eq!(ops(&found)[1..], [&Op::Sigmoid, &Op::Mul, &Op::Add]);
}

#[test]
fn one_number_a_channel() {
    type Case = (&'static str, &'static str, [&'static str; 2], fn(f32, f32) -> f32);
    let cases: [Case; 7] = [
        ("mul", "Mul", ["x", "c"], |x, c| x * c),
        ("div", "Div", ["x", "c"], |x, c| x / c),
        ("add", "Add", ["c", "x"], |x, c| x + c),
        ("sub", "Sub", ["x", "c"], |x, c| x - c),
        ("sub before", "Sub", ["c", "x"], |x, c| c - x),
        ("prelu", "PRelu", ["x", "c"], |x, c| if x > 0.0 { x } else { c * x }),
        ("prelu 0.3", "PRelu", ["x", "c"], |x, c| x.max(0.0) + c * x.min(0.0)),
    ];
    let c = [0.5, -2.0, 0.25];
    for (what, op, inputs, wanted) in cases {
        for shape in [&[3, 1, 1][..], &[1, 3, 1, 1]] {
            let model = file(
                [1, 3, 0, 0],
                vec![node(op, &inputs, "y", vec![])],
                vec![weights("c", shape, &c)],
            );
            assert_is(what, &model, |channel, x| wanted(x, c[channel]));
        }
    }
    let four = file(
        [1, 3, 4, 4],
        vec![node("Mul", &["x", "c"], "y", vec![])],
        vec![weights("c", &[4, 1, 1], &[1.0; 4])],
    );
    assert!(refused(&four).contains("`y` (Mul): a constant of shape [4, 1, 1]"));
    let none = file(
        [1, 3, 4, 4],
        vec![node("Mul", &["x", "c"], "y", vec![])],
        vec![weights("c", &[0], &[])],
    );
    assert!(refused(&none).contains("a constant of shape [0]"));
}

#[test]
fn batch_norm() {
    let parts = [[0.5, -1.0, 2.0], [0.1, 0.2, -0.3], [-0.5, 0.25, 1.0], [0.01, 1.0, 4.0]];
    let names = ["x", "w", "b", "m", "v"];
    let constants: Vec<Constant> = names[1..]
        .iter()
        .zip(&parts)
        .map(|(name, part)| weights(name, &[3], part))
        .collect();
    let norm = |attributes| {
        file(
            [0, 3, 0, 0],
            vec![node("BatchNormalization", &names, "y", attributes)],
            constants.clone(),
        )
    };
    for (attributes, eps) in [
        (vec![], 1e-5),
        (vec![float("epsilon", 0.001), int("training_mode", 0)], 0.001),
    ] {
        assert_is("batch norm", &norm(attributes), |c, x| {
            (x - parts[2][c]) / (parts[3][c] + eps as f32).sqrt() * parts[0][c] + parts[1][c]
        });
    }
    assert!(refused(&norm(vec![int("training_mode", 1)])).contains("export the network in eval mode"));
    // As opset 9 has it: means and variances come out, too.
    let mut training = with_opset(norm(vec![]), 9);
    let outputs = &mut training.graph.as_mut().unwrap().node[0].output;
    outputs.push(String::new());
    imported(&training);
    let outputs = &mut training.graph.as_mut().unwrap().node[0].output;
    outputs.extend(["mean", "variance"].map(String::from));
    assert!(refused(&training).contains("export the network in eval mode"));
    let mut few = norm(vec![]);
    few.graph.as_mut().unwrap().initializer[0] = weights("w", &[2], &[1.0; 2]);
    assert!(refused(&few).contains("`y` (BatchNormalization): weight of shape [2], where 3 channels need [3]"));
}

#[test]
fn one_number_for_each_plane_is_repeated_over_it() {
    // Squeeze and excitation.
    let nodes = || {
        vec![
            node("GlobalAveragePool", &["x"], "mean", vec![]),
            node("Sigmoid", &["mean"], "gate", vec![]),
            node("Mul", &["x", "gate"], "y", vec![]),
        ]
    };
    let found = imported(&file([1, 2, 3, 3], nodes(), vec![]));
    let x = random_picture(&[1, 2, 3, 3]);
    let data = x.data.chunks(9).flat_map(|plane| {
        let mean = plane.iter().sum::<f32>() / 9.0;
        plane.iter().map(move |x| x / (1.0 + (-mean).exp()))
    });
    let wanted = Array {
        shape: x.shape.clone(),
        data: data.collect(),
    };
    assert_near("gated", &run(&found, &x), &wanted);
    for axes in [[1, 2, 3, 4], [1, 2, 0, 0]] {
        assert!(refused(&file(axes, nodes(), vec![])).contains("`y` (Mul): one number for each plane"));
    }
    // A size that is told serves as well.
    let open = file([1, 2, 0, 0], nodes(), vec![]).encode_to_vec();
    let found = read(open, Some([3, 3]), &nothing_beside).unwrap();
    assert_near("of a size that is told", &run(&found, &x), &wanted);
}
