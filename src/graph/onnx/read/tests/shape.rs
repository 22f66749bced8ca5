use super::*;
use crate::graph::Interpolation;

/// Values of a picture of 2x3x2x2 as rows of 12 features.
fn assert_flattens(what: &str, axes: [i64; 4], nodes: Vec<Node>, constants: Vec<Constant>) {
    let found = imported(&file(axes, nodes, constants));
    let x = random_picture(&[2, 3, 2, 2]);
    let data = x.data.clone();
    assert_near(
        what,
        &run(&found, &x),
        &Array {
            shape: vec![2, 12],
            data,
        },
    );
}

#[test]
fn pictures_become_rows_of_features_in_many_ways() {
    let reshape = |shape: &[i64]| {
        (
            vec![node("Reshape", &["x", "shape"], "y", vec![])],
            vec![whole("shape", shape)],
        )
    };
    // x.view(x.size(0), -1), as older exporters write it, and x.view(-1, x.size(1) * 4).
    let size = |at: i64| {
        let shape = node("Shape", &["x"], "s", vec![]);
        (shape, node("Gather", &["s", "at"], "n", vec![]), whole("at", &[at]))
    };
    let (shape, gather, at) = size(0);
    let view = vec![
        shape,
        gather,
        node("Concat", &["n", "rest"], "c", vec![int("axis", 0)]),
        node("Reshape", &["x", "c"], "y", vec![]),
    ];
    let sliced = vec![
        node("Shape", &["x"], "s", vec![]),
        node("Slice", &["s", "zero", "one"], "n", vec![]),
        node("Cast", &["n"], "n2", vec![int("to", 7)]),
        node("Concat", &["n2", "rest"], "c", vec![int("axis", 0)]),
        node("Reshape", &["x", "c"], "y", vec![]),
    ];
    let (shape, gather, channel) = size(-3);
    let worked_out = vec![
        shape,
        gather,
        node("Mul", &["n", "four"], "m", vec![]),
        node("Concat", &["rest", "m"], "c", vec![int("axis", 0)]),
        node("Reshape", &["x", "c"], "y", vec![]),
    ];
    let rest = || whole("rest", &[-1]);
    for axes in [[0, 3, 2, 2], [2, 3, 2, 2], [0, 3, 0, 0]] {
        assert_flattens("flatten", axes, vec![node("Flatten", &["x"], "y", vec![])], vec![]);
        assert_flattens(
            "flatten -3",
            axes,
            vec![node("Flatten", &["x"], "y", vec![int("axis", -3)])],
            vec![],
        );
        for shape in [[0, -1], [-1, 12], [1, -1]] {
            let (nodes, constants) = reshape(&shape);
            assert_flattens(&format!("{shape:?}"), axes, nodes, constants);
        }
        assert_flattens("view", axes, view.clone(), vec![at.clone(), rest()]);
        let ends = vec![whole("zero", &[0]), whole("one", &[1]), rest()];
        assert_flattens("slice", axes, sliced.clone(), ends);
        assert_flattens(
            "mul",
            axes,
            worked_out.clone(),
            vec![channel.clone(), rest(), whole("four", &[4])],
        );
    }
    let (nodes, constants) = reshape(&[2, 12]);
    assert_flattens("the batch", [2, 3, 2, 2], nodes, constants);

    for (shape, words) in [
        (&[-1, 6][..], "12 features of a picture become rows of 6"),
        (&[2, -1], "to [2, -1]"),
        (&[1, 3, 4], "to [1, 3, 4]"),
        (&[0, 0], "channels alone"),
        (&[3, 4], "to [3, 4]"),
        (&[1, 2, 3, 2], "to [1, 2, 3, 2]"),
    ] {
        let (nodes, constants) = reshape(shape);
        let reason = refused(&file([0, 3, 2, 2], nodes, constants));
        assert!(reason.contains(words), "{words}: {reason}");
    }
    let reason = refused(&file(
        [0, 3, 2, 2],
        vec![node("Flatten", &["x"], "y", vec![int("axis", 2)])],
        vec![],
    ));
    assert!(reason.contains("`y` (Flatten): axis 2"), "{reason}");
}

/// Rows that are worked out of the batch, or of what is not known, are not taken for one a picture.
#[test]
fn the_batch_is_not_what_is_unknown() {
    let at = |i: usize| node("Gather", &["s", &format!("at{i}")], &format!("n{i}"), vec![]);
    let shape = || node("Shape", &["x"], "s", vec![]);
    let concat = |a: &str, b: &str| node("Concat", &[a, b], "c", vec![int("axis", 0)]);
    let reshape = || node("Reshape", &["x", "c"], "y", vec![]);
    let model = |axes, middle: Vec<Node>| {
        let nodes = [vec![shape()], middle, vec![reshape()]].concat();
        let mut constants: Vec<Constant> = (0..4).map(|i| whole(&format!("at{i}"), &[i])).collect();
        constants.extend([whole("rest", &[-1]), whole("two", &[2])]);
        file(axes, nodes, constants)
    };
    let times = |a: &str, b: &str| node("Mul", &[a, b], "m", vec![]);
    let open = [0, 3, 0, 0];
    for (what, middle, words) in [
        // x.view(x.size(0) * x.size(1), -1)
        (
            "a row a plane",
            vec![at(0), at(1), times("n0", "n1"), concat("m", "rest")],
            "to [?, -1]",
        ),
        (
            "two rows a picture",
            vec![at(0), times("n0", "two"), concat("m", "rest")],
            "to [?, -1]",
        ),
        ("a row for each row", vec![at(2), concat("n2", "rest")], "to [?, -1]"),
        (
            "rows of rows",
            vec![at(3), concat("rest", "n3")],
            "to [-1, ?]: give --size",
        ),
        ("columns", vec![at(0), concat("rest", "n0")], "to [-1, N]"),
        ("columns of the batch", vec![at(0), concat("n0", "n0")], "to [N, N]"),
    ] {
        let reason = refused(&model(open, middle));
        assert!(reason.contains(words), "{what}: {reason}");
    }
    // x.view(x.size(0), x.size(1) * x.size(2) * x.size(3))
    let product = vec![at(1), at(2), at(0), times("n1", "n2"), concat("n0", "m")];
    imported(&model(open, product.clone()));
    assert!(refused(&model([0, 3, 4, 2], product)).contains("24 features of a picture become rows of 12"));
    // To its own shape: as it is, if it is known to be.
    let same = || vec![node("Identity", &["s"], "c", vec![])];
    assert_eq!(ops(&imported(&model([0, 3, 4, 2], same()))).len(), 1);
    assert!(refused(&model(open, same())).contains("to [N, 3, ?, ?]"));
}

#[test]
fn a_shape_of_a_list_is_its_length() {
    let nodes = vec![
        node("Shape", &["list"], "length", vec![]),
        node("Concat", &["length", "rest"], "c", vec![int("axis", 0)]),
        node("Reshape", &["x", "c"], "y", vec![]),
    ];
    let reason = refused(&file(
        [0, 3, 2, 2],
        nodes,
        vec![whole("list", &[7, 1, 1]), whole("rest", &[-1])],
    ));
    assert!(reason.contains("to [3, -1]"), "{reason}");
}

#[test]
fn means_of_planes() {
    let x = random_picture(&[2, 3, 2, 4]);
    let means: Vec<f32> = x.data.chunks(8).map(|plane| plane.iter().sum::<f32>() / 8.0).collect();
    let mean = |op: &str, inputs: &[&str], attributes| vec![node(op, inputs, "y", attributes)];
    let then_squeeze = vec![
        node("GlobalAveragePool", &["x"], "m", vec![]),
        node("Squeeze", &["m", "axes"], "y", vec![]),
    ];
    let then_reshape = vec![
        node("GlobalAveragePool", &["x"], "m", vec![]),
        node("Reshape", &["m", "row"], "y", vec![]),
    ];
    let cases = [
        (mean("GlobalAveragePool", &["x"], vec![]), true),
        (mean("ReduceMean", &["x"], vec![ints("axes", &[2, 3])]), true),
        (
            mean("ReduceMean", &["x"], vec![ints("axes", &[-1, -2]), int("keepdims", 0)]),
            false,
        ),
        (mean("ReduceMean", &["x", "axes"], vec![int("keepdims", 1)]), true),
        (mean("ReduceMean", &["x", "axes"], vec![int("keepdims", 0)]), false),
        (then_squeeze, false),
        (then_reshape, false),
    ];
    for (nodes, keeps) in cases {
        for axes in [[0, 3, 0, 0], [2, 3, 2, 4]] {
            let constants = vec![whole("axes", &[3, 2]), whole("row", &[0, 0])];
            let found = imported(&file(axes, nodes.clone(), constants));
            let shape = if keeps { vec![2, 3, 1, 1] } else { vec![2, 3] };
            let data = means.clone();
            assert_near(&nodes[0].op_type, &run(&found, &x), &Array { shape, data });
        }
    }
    for (node, words) in [
        (
            node("ReduceMean", &["x"], "y", vec![ints("axes", &[1])]),
            "only the mean of whole planes",
        ),
        (node("ReduceMean", &["x"], "y", vec![]), "only the mean of whole planes"),
        (
            node("Squeeze", &["x"], "y", vec![ints("axes", &[2, 3])]),
            "of one pixel",
        ),
        (node("Squeeze", &["x"], "y", vec![]), "of one pixel"),
    ] {
        let reason = refused(&file([1, 3, 4, 4], vec![node], vec![]));
        assert!(reason.contains(words), "{words}: {reason}");
    }
}

#[test]
fn pictures_are_enlarged() {
    let constants = || {
        vec![
            weights("twice", &[4], &[1.0, 1.0, 2.0, 2.0]),
            weights("thrice", &[4], &[1.0, 1.0, 3.0, 3.0]),
            weights("half", &[4], &[1.0, 1.0, 0.5, 0.5]),
            weights("uneven", &[4], &[1.0, 1.0, 2.0, 3.0]),
            weights("none", &[0], &[]),
            whole("sizes", &[1, 2, 8, 10]),
            whole("odd", &[1, 2, 9, 10]),
        ]
    };
    let mode = |mode: &str, place: &str, rounding: &str| {
        let given = [
            ("mode", mode),
            ("coordinate_transformation_mode", place),
            ("nearest_mode", rounding),
        ];
        given
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| text(name, value))
            .collect::<Vec<_>>()
    };
    let (nearest, bilinear) = (Interpolation::Nearest, Interpolation::Bilinear);
    let resize = |inputs: &[&str], attributes| vec![node("Resize", inputs, "y", attributes)];
    let upsample = |inputs: &[&str], attributes| vec![node("Upsample", inputs, "y", attributes)];
    for (opset, nodes, factor, mode) in [
        (
            17,
            resize(&["x", "", "twice"], mode("nearest", "asymmetric", "floor")),
            2,
            nearest,
        ),
        (
            17,
            resize(&["x", "none", "thrice"], mode("nearest", "asymmetric", "floor")),
            3,
            nearest,
        ),
        (
            17,
            resize(&["x", "", "twice"], mode("nearest", "asymmetric", "")),
            2,
            nearest,
        ),
        (17, resize(&["x", "", "thrice"], mode("", "", "")), 3, nearest),
        (
            17,
            resize(&["x", "", "thrice"], mode("nearest", "half_pixel", "round_prefer_ceil")),
            3,
            nearest,
        ),
        (
            17,
            resize(&["x", "", "twice"], mode("linear", "pytorch_half_pixel", "")),
            2,
            bilinear,
        ),
        (17, resize(&["x", "", "twice"], mode("linear", "", "")), 2, bilinear),
        (
            17,
            resize(&["x", "", "", "sizes"], mode("linear", "half_pixel", "")),
            2,
            bilinear,
        ),
        (10, resize(&["x", "twice"], mode("nearest", "", "")), 2, nearest),
        (9, upsample(&["x", "twice"], mode("nearest", "", "")), 2, nearest),
        (
            7,
            upsample(
                &["x"],
                vec![Attribute {
                    floats: vec![1.0, 1.0, 2.0, 2.0],
                    ..ints("scales", &[])
                }],
            ),
            2,
            nearest,
        ),
    ] {
        let found = imported(&with_opset(file([1, 2, 4, 5], nodes, constants()), opset));
        assert_eq!(ops(&found)[1..], [&Op::Upsample { factor, mode }]);
    }
    for (opset, nodes, words) in [
        (17, resize(&["x", "", "half"], vec![]), "scales [1.0, 1.0, 0.5, 0.5]"),
        (17, resize(&["x", "", "uneven"], vec![]), "scales [1.0, 1.0, 2.0, 3.0]"),
        (17, resize(&["x", "", "none"], vec![]), "scales []"),
        (17, resize(&["x"], vec![]), "its input 2 is missing"),
        (17, resize(&["x", "", "", "odd"], vec![]), "to sizes [1, 2, 9, 10]"),
        (
            17,
            resize(&["x", "", "thrice"], mode("nearest", "asymmetric", "")),
            "nearest with asymmetric and round_prefer_floor",
        ),
        (
            17,
            resize(&["x", "", "thrice"], mode("nearest", "half_pixel", "floor")),
            "half_pixel and floor",
        ),
        (
            17,
            resize(&["x", "", "twice"], mode("linear", "align_corners", "")),
            "linear with align_corners",
        ),
        (
            9,
            upsample(&["x", "twice"], mode("linear", "", "")),
            "linear with asymmetric",
        ),
    ] {
        let reason = refused(&with_opset(file([1, 2, 4, 5], nodes, constants()), opset));
        assert!(reason.contains(words), "{words}: {reason}");
    }
    let open = file(
        [1, 2, 0, 0],
        resize(&["x", "", "", "sizes"], mode("linear", "", "")),
        constants(),
    );
    assert!(refused(&open).contains("give --size"), "{}", refused(&open));
}

#[test]
fn a_size_that_follows_from_another_value() {
    // F.interpolate(relu(pool(x)), size=x.shape[2:]).
    let nodes = vec![
        node(
            "MaxPool",
            &["x"],
            "p",
            vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])],
        ),
        node("Shape", &["x"], "s", vec![]),
        node("Slice", &["s", "two", "four"], "sides", vec![]),
        node("Shape", &["p"], "ps", vec![int("start", 0), int("end", -2)]),
        node("Concat", &["ps", "sides"], "sizes", vec![int("axis", 0)]),
        node("Resize", &["p", "", "", "sizes"], "y", vec![]),
    ];
    let model = |axes| file(axes, nodes.clone(), vec![whole("two", &[2]), whole("four", &[4])]);
    let found = imported(&model([1, 2, 6, 8]));
    let mode = Interpolation::Nearest;
    assert_eq!(ops(&found)[2], &Op::Upsample { factor: 2, mode });
    assert!(
        refused(&model([1, 2, 0, 0])).contains("`y` (Resize): to a size that depends on the picture's: give --size")
    );
    // One side that is told serves as well as two.
    for axes in [[1, 2, 0, 0], [1, 2, 6, 0], [1, 2, 0, 8]] {
        let told = read(model(axes).encode_to_vec(), Some([8, 6]), &nothing_beside).unwrap();
        assert_eq!(told.graph, found.graph);
    }
}

#[test]
fn softmaxes_over_channels() {
    let model = |opset, op: &str, attributes, flat: bool| {
        let input = if flat { "f" } else { "x" };
        let nodes = vec![
            node("Flatten", &["x"], "f", vec![]),
            node(op, &[input], "y", attributes),
        ];
        with_opset(file([1, 3, 2, 2], nodes, vec![]), opset)
    };
    assert_eq!(
        ops(&imported(&model(17, "Softmax", vec![int("axis", 1)], false)))[1],
        &Op::Softmax
    );
    assert_eq!(ops(&imported(&model(17, "Softmax", vec![], true)))[2], &Op::Softmax);
    assert_eq!(ops(&imported(&model(11, "Softmax", vec![], true)))[2], &Op::Softmax);
    // Over all that follows the batch, then.
    assert!(refused(&model(11, "Softmax", vec![int("axis", 1)], false)).contains("`y` (Softmax): axis 1"));
    let last = imported(&model(17, "LogSoftmax", vec![], true));
    assert!(last.log_softmax && ops(&last).len() == 2);
    let mut further = model(17, "LogSoftmax", vec![], true);
    let graph = further.graph.as_mut().unwrap();
    graph.node.push(node("Relu", &["y"], "z", vec![]));
    graph.output = vec![value("z", &[])];
    assert!(refused(&further).contains("`z` (Relu): LogSoftmax is read at the end"));
}

#[test]
fn pads_that_pytorch_turns_round() {
    // Its pads count from the last axis, left and right together: [left, right, top, bottom].
    let nodes = |mode: &str| {
        vec![
            node(
                "ConstantOfShape",
                &["count"],
                "rest",
                vec![Attribute {
                    t: Some(whole("", &[0])),
                    ..text("value", "")
                }],
            ),
            node("Concat", &["pads", "rest"], "all", vec![int("axis", 0)]),
            node("Reshape", &["all", "pairs"], "rows", vec![]),
            node("Slice", &["rows", "last", "first", "axis", "last"], "turned", vec![]),
            node("Transpose", &["turned"], "columns", vec![ints("perm", &[1, 0])]),
            node("Reshape", &["columns", "last"], "list", vec![]),
            node("Cast", &["list"], "cast", vec![int("to", 7)]),
            node("Pad", &["x", "cast"], "padded", vec![text("mode", mode)]),
            node("Conv", &["padded", "w"], "y", vec![]),
        ]
    };
    let constants = |pads: &[i64]| {
        vec![
            whole("count", &[4]),
            whole("pads", pads),
            whole("pairs", &[-1, 2]),
            whole("last", &[-1]),
            whole("first", &[-i64::MAX]),
            whole("axis", &[0]),
            weights("w", &[1, 1, 3, 3], &[0.5; 9]),
        ]
    };
    let found = imported(&file([1, 1, 6, 6], nodes("reflect"), constants(&[2; 4])));
    assert!(matches!(ops(&found)[1], Op::Conv2d { padding: 2, .. }));
    // left 0, right 2, top 1, bottom 3.
    let reason = refused(&file([1, 1, 6, 6], nodes("edge"), constants(&[0, 2, 1, 3])));
    assert!(reason.contains("pads [1, 0, 3, 2] is not read"), "{reason}");
    for (at, node, words) in [
        (
            0,
            node("ConstantOfShape", &["count"], "rest", vec![]),
            "of whole numbers alone",
        ),
        (2, node("Reshape", &["all", "count"], "rows", vec![]), "only steps of 1"),
        (
            3,
            node("Slice", &["rows", "axis", "last"], "turned", vec![]),
            "of rows of whole numbers",
        ),
        (4, node("Transpose", &["x"], "columns", vec![]), "not of pictures"),
    ] {
        let mut changed = nodes("edge");
        changed[at] = node;
        let reason = refused(&file([1, 1, 6, 6], changed, constants(&[1; 4])));
        assert!(reason.contains(words), "{words}: {reason}");
    }
}
