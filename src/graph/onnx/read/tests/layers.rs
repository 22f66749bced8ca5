use super::*;

/// A convolution by its definition: NCHW, one group, with borders top, left, bottom, right of zeros.
fn convolved(x: &Array, w: &Array, pads: [usize; 4], stride: usize, dilation: usize) -> Array {
    let [n, c, h, wide] = x.shape[..] else { panic!() };
    let [out, _, kh, kw] = w.shape[..] else { panic!() };
    let rows = (h + pads[0] + pads[2] - dilation * (kh - 1) - 1) / stride + 1;
    let columns = (wide + pads[1] + pads[3] - dilation * (kw - 1) - 1) / stride + 1;
    let mut data = Vec::new();
    for (i, o, row, column) in (0..n * out * rows * columns).map(|at| {
        (
            at / (out * rows * columns),
            at / (rows * columns) % out,
            at / columns % rows,
            at % columns,
        )
    }) {
        let mut sum = 0.0;
        for (k, ky, kx) in (0..c * kh * kw).map(|at| (at / (kh * kw), at / kw % kh, at % kw)) {
            let y = (row * stride + ky * dilation).wrapping_sub(pads[0]);
            let x_at = (column * stride + kx * dilation).wrapping_sub(pads[1]);
            if y < h && x_at < wide {
                sum += x.data[((i * c + k) * h + y) * wide + x_at] * w.data[((o * c + k) * kh + ky) * kw + kx];
            }
        }
        data.push(sum);
    }
    let shape = vec![n, out, rows, columns];
    Array { shape, data }
}

#[test]
fn kernels_and_borders_of_every_kind() {
    // Kernel (height, width), pads, stride, dilation.
    let cases = [
        ([3, 3], [1, 1, 1, 1], 1, 1),
        ([3, 3], [1, 1, 1, 1], 2, 1),
        ([3, 3], [2, 2, 2, 2], 1, 2),
        ([2, 2], [0, 0, 0, 0], 2, 1),
        ([1, 3], [0, 1, 0, 1], 1, 1),
        ([7, 1], [3, 0, 3, 0], 1, 1),
        ([3, 3], [0, 0, 1, 1], 2, 1),
        ([3, 3], [1, 1, 0, 0], 2, 1),
        ([5, 5], [1, 2, 2, 1], 2, 1),
        ([3, 3], [2, 2, 0, 0], 1, 1),
        ([3, 3], [4, 4, 2, 2], 1, 2),
        ([1, 3], [0, 2, 0, 2], 1, 2),
    ];
    let x = random_picture(&[2, 3, 9, 8]);
    for ([kh, kw], pads, stride, dilation) in cases {
        let shape = [4, 3, kh, kw];
        let data = random(7, shape.iter().product());
        let (s, d) = (stride as i64, dilation as i64);
        let attributes = vec![
            ints("pads", &pads.map(|n| n as i64)),
            ints("strides", &[s, s]),
            ints("dilations", &[d, d]),
        ];
        let conv = node("Conv", &["x", "w"], "y", attributes);
        for axes in [[2, 3, 9, 8], [0, 3, 0, 0]] {
            let model = file(axes, vec![conv.clone()], vec![weights("w", &shape, &data)]);
            let kernel = Array {
                shape: shape.to_vec(),
                data: data.clone(),
            };
            let wanted = convolved(&x, &kernel, pads, stride, dilation);
            let what = format!("{kh}x{kw}, pads {pads:?}, stride {stride}, dilation {dilation}");
            assert_near(&what, &run(&imported(&model), &x), &wanted);
        }
    }
}

#[test]
fn kernels_that_no_square_one_replaces_are_refused() {
    let conv = |kernel: [usize; 2], attributes| {
        let shape = [2, 1, kernel[0], kernel[1]];
        let data = vec![1.0; kernel[0] * kernel[1] * 2];
        let conv = node("Conv", &["x", "w"], "c", attributes);
        refused(&file([1, 1, 16, 16], vec![conv], vec![weights("w", &shape, &data)]))
    };
    assert!(conv([1, 3], vec![]).contains("`c` (Conv): a kernel of 3x1 with pads [0, 0, 0, 0] is not read"));
    assert!(conv([3, 3], vec![ints("pads", &[0, 0, 1, 0])]).contains("with pads [0, 0, 1, 0]"));
    assert!(conv([3, 3], vec![ints("pads", &[0, 0, 900_000, 900_000])]).contains("is not read"));
    assert!(conv([3, 3], vec![ints("pads", &[0, 0, 1])]).contains("expected four"));
    assert!(conv([3, 3], vec![ints("strides", &[1, 2])]).contains("strides [1, 2]: only the same"));
    assert!(conv([3, 3], vec![ints("strides", &[0, 0])]).contains("stride 0"));
    assert!(conv([3, 3], vec![int("group", 0)]).contains("0 groups"));
    assert!(conv([3, 3], vec![int("group", -1)]).contains("group -1"));
    assert!(conv([0, 3], vec![]).contains("weights of shape [2, 1, 0, 3]"));
    assert!(conv([17, 17], vec![]).contains("does not fit"));
    assert!(conv([3, 3], vec![text("auto_pad", "BEST")]).contains("auto_pad BEST"));
}

#[test]
fn auto_pad_keeps_sizes_that_divide() {
    let x = random_picture(&[1, 2, 9, 9]);
    let cases = [
        ("SAME_UPPER", 3, 1, [1, 1, 1, 1]),
        ("SAME_UPPER", 3, 2, [1, 1, 1, 1]),
        ("SAME_UPPER", 2, 1, [0, 0, 1, 1]),
        ("SAME_LOWER", 2, 1, [1, 1, 0, 0]),
        ("SAME_UPPER", 4, 2, [1, 1, 2, 2]),
        ("SAME_LOWER", 1, 3, [0, 0, 0, 0]),
        ("VALID", 3, 2, [0, 0, 0, 0]),
    ];
    for (mode, side, stride, pads) in cases {
        let shape = [2, 2, side, side];
        let data = random(8, shape.iter().product());
        let s = stride as i64;
        let conv = node(
            "Conv",
            &["x", "w"],
            "y",
            vec![text("auto_pad", mode), ints("strides", &[s, s])],
        );
        let model = file([1, 2, 9, 9], vec![conv], vec![weights("w", &shape, &data)]);
        let kernel = Array {
            shape: shape.to_vec(),
            data,
        };
        let wanted = convolved(&x, &kernel, pads, stride, 1);
        assert_near(&format!("{mode} {side} {stride}"), &run(&imported(&model), &x), &wanted);
    }
}

#[test]
fn auto_pad_sees_what_is_padded_before() {
    let x = random_picture(&[1, 1, 9, 9]);
    let data = random(8, 9);
    let nodes = vec![
        node("Pad", &["x", "pads"], "p", vec![]),
        node(
            "Conv",
            &["p", "w"],
            "y",
            vec![text("auto_pad", "SAME_UPPER"), ints("strides", &[2, 2])],
        ),
    ];
    let constants = vec![
        whole("pads", &[0, 0, 1, 1, 0, 0, 0, 0]),
        weights("w", &[1, 1, 3, 3], &data),
    ];
    let model = |side| file([1, 1, side, side], nodes.clone(), constants.clone());
    let shape = vec![1, 1, 3, 3];
    // Of 10x10 pixels 5x5 are made, with one more below and to the right.
    let wanted = convolved(
        &x,
        &Array {
            shape,
            data: data.clone(),
        },
        [1; 4],
        2,
        1,
    );
    assert_near("padded", &run(&imported(&model(9)), &x), &wanted);
    assert!(refused(&model(0)).contains("`y` (Conv): auto_pad: give the size"));
}

#[test]
fn padding_before_a_convolution_is_its_own() {
    let x = random_picture(&[1, 2, 6, 6]);
    let kernel = Array {
        shape: vec![2, 2, 3, 3],
        data: random(9, 36),
    };
    let padded = |mode: &str, own: i64, pads: &[i64]| {
        let nodes = vec![
            node("Pad", &["x", "pads"], "p", vec![text("mode", mode)]),
            node("Conv", &["p", "w"], "y", vec![ints("pads", &[own; 4])]),
        ];
        file(
            [1, 2, 6, 6],
            nodes,
            vec![whole("pads", pads), weights("w", &kernel.shape, &kernel.data)],
        )
    };
    let found = imported(&padded("constant", 1, &[0, 0, 1, 1, 0, 0, 0, 0]));
    assert_near("zeros", &run(&found, &x), &convolved(&x, &kernel, [2, 2, 1, 1], 1, 1));
    let even = [0, 0, 1, 1, 0, 0, 1, 1];
    for (mode, at) in [
        ("edge", [0, 0, 1, 2, 3, 4, 5, 5]),
        ("reflect", [1, 0, 1, 2, 3, 4, 5, 4]),
    ] {
        let mut larger = Array {
            shape: vec![1, 2, 8, 8],
            data: Vec::new(),
        };
        for plane in x.data.chunks(36) {
            larger.data.extend(at.iter().flat_map(|y| at.map(|x| plane[y * 6 + x])));
        }
        let found = imported(&padded(mode, 0, &even));
        assert_near(mode, &run(&found, &x), &convolved(&larger, &kernel, [0; 4], 1, 1));
        assert!(refused(&padded(mode, 1, &even)).contains("`y` (Conv): padding beyond padding"));
        assert!(refused(&padded(mode, 0, &[0, 0, 1, 1, 0, 0, 0, 0])).contains("with pads [1, 1, 0, 0]"));
    }
    assert!(refused(&padded("wrap", 0, &even)).contains("`p` (Pad): mode wrap"));
    let mut alone = padded("edge", 0, &even);
    alone.graph.as_mut().unwrap().node[1] = node("Relu", &["p"], "y", vec![]);
    assert!(refused(&alone).contains("`y` (Relu): padding is read before convolutions alone"));
}

#[test]
fn a_transposed_convolution_and_its_limits() {
    let attributes = |more: Vec<Attribute>| [vec![ints("strides", &[2, 2]), ints("pads", &[1; 4])], more].concat();
    let model = |attributes, group: usize| {
        let deconv = node("ConvTranspose", &["x", "w", "b"], "y", attributes);
        let w = weights("w", &[4, 2, 4, 4], &random(3, 128));
        file(
            [1, 4, 5, 6],
            vec![deconv],
            vec![w, weights("b", &[2 * group], &vec![0.5; 2 * group])],
        )
    };
    let found = imported(&model(attributes(vec![int("group", 2)]), 2));
    assert_eq!(run(&found, &random_picture(&[1, 4, 5, 6])).shape, [1, 4, 10, 12]);
    for (more, words) in [
        (vec![ints("dilations", &[2, 2])], "dilations and output_shape"),
        (vec![ints("output_shape", &[10, 12])], "dilations and output_shape"),
        (vec![text("auto_pad", "SAME_UPPER")], "auto_pad"),
        (vec![int("group", i64::MAX)], "bias of shape [2], where 4 channels need"),
        (vec![int("group", 3)], "of shape"),
    ] {
        let reason = refused(&model(attributes(more), 1));
        assert!(reason.contains(words), "{words}: {reason}");
    }
}

#[test]
fn pools() {
    let pool = |op: &str, side: i64, attributes: Vec<Attribute>| {
        let kernel = vec![ints("kernel_shape", &[3, 3]), ints("strides", &[2, 2])];
        file(
            [1, 2, side, side],
            vec![node(op, &["x"], "y", [kernel, attributes].concat())],
            vec![],
        )
    };
    let (kernel, stride) = (3, 2);
    let found = imported(&pool("MaxPool", 8, vec![ints("pads", &[1; 4])]));
    assert_eq!(
        ops(&found)[1],
        &Op::MaxPool {
            kernel,
            stride,
            padding: 1
        }
    );
    // Rounded up or down, it is the same where there is nothing to round.
    let found = imported(&pool("MaxPool", 7, vec![int("ceil_mode", 1)]));
    assert_eq!(
        ops(&found)[1],
        &Op::MaxPool {
            kernel,
            stride,
            padding: 0
        }
    );
    assert!(refused(&pool("MaxPool", 8, vec![int("ceil_mode", 1)])).contains("`y` (MaxPool): ceil_mode"));
    assert!(refused(&pool("MaxPool", 0, vec![int("ceil_mode", 1)])).contains("ceil_mode"));
    assert!(refused(&pool("MaxPool", 8, vec![ints("dilations", &[2, 2])])).contains("dilations"));
    assert!(refused(&pool("MaxPool", 8, vec![ints("pads", &[0, 0, 1, 1])])).contains("pads [0, 0, 1, 1]"));
    let counted = vec![ints("pads", &[1; 4]), int("count_include_pad", 1)];
    let found = imported(&pool("AveragePool", 8, counted));
    assert_eq!(
        ops(&found)[1],
        &Op::AvgPool {
            kernel,
            stride,
            padding: 1
        }
    );
    assert!(refused(&pool("AveragePool", 8, vec![ints("pads", &[1; 4])])).contains("count_include_pad"));
}

/// The product of rows of features with a matrix `[out, in]`, and a bias.
fn product(x: &Array, matrix: &[f32], bias: &[f32]) -> Array {
    let features = x.data.len() / x.shape[0];
    let rows = x.data.chunks(features);
    let data = rows.flat_map(|row| {
        let dot = |weights: &[f32]| row.iter().zip(weights).map(|(a, b)| a * b).sum::<f32>();
        matrix
            .chunks(features)
            .map(dot)
            .zip(bias)
            .map(|(sum, bias)| sum + bias)
            .collect::<Vec<_>>()
    });
    let shape = vec![x.shape[0], bias.len()];
    Array {
        shape,
        data: data.collect(),
    }
}

#[test]
fn linear_layers() {
    let x = random_picture(&[2, 3, 2, 2]);
    let flat = || node("Flatten", &["x"], "f", vec![]);
    let matrix = random(5, 60);
    let turned: Vec<f32> = (0..60).map(|i| matrix[i % 5 * 12 + i / 5]).collect();
    let bias = [0.5, -0.25, 1.0, 0.0, 2.0];
    let constants = || {
        vec![
            weights("out_in", &[5, 12], &matrix),
            weights("in_out", &[12, 5], &turned),
            weights("b", &[5], &bias),
            weights("row", &[1, 5], &bias),
            number("one", 1.0),
        ]
    };
    let gemm = |inputs: &[&str], attributes| vec![flat(), node("Gemm", inputs, "y", attributes)];
    let product_and = |op: &str, inputs: &[&str]| {
        vec![
            flat(),
            node("MatMul", &["f", "in_out"], "p", vec![]),
            node(op, inputs, "y", vec![]),
        ]
    };
    for (nodes, bias) in [
        (gemm(&["f", "out_in", "b"], vec![int("transB", 1)]), bias),
        (gemm(&["f", "in_out", "row"], vec![]), bias),
        (gemm(&["f", "in_out", "one"], vec![float("alpha", 1.0)]), [1.0; 5]),
        (gemm(&["f", "in_out"], vec![]), [0.0; 5]),
        (product_and("Add", &["p", "b"]), bias),
        (product_and("Add", &["row", "p"]), bias),
        (product_and("Add", &["p", "one"]), [1.0; 5]),
    ] {
        let found = imported(&file([0, 3, 2, 2], nodes, constants()));
        assert_near("linear", &run(&found, &x), &product(&x, &matrix, &bias));
    }
    let found = imported(&file([0, 3, 2, 2], product_and("Add", &["p", "b"]), constants()));
    assert_eq!(ops(&found)[2..], [&Op::Linear { out: 5, bias: true }]);
    for (nodes, words) in [
        (
            gemm(&["f", "out_in"], vec![]),
            "weight of shape [12, 5], where 12 channels need [12, 12]",
        ),
        (
            gemm(&["f", "in_out"], vec![float("alpha", 0.5)]),
            "alpha, beta and transA",
        ),
        (gemm(&["f", "in_out"], vec![int("transA", 1)]), "alpha, beta and transA"),
        (gemm(&["f", "b"], vec![]), "weights of shape [5]: expected a matrix"),
        (gemm(&["f", "in_out", "in_out"], vec![]), "a bias of 60 values for 5"),
    ] {
        let reason = refused(&file([0, 3, 2, 2], nodes, constants()));
        assert!(reason.contains(words), "{words}: {reason}");
    }
}

#[test]
fn a_batch_norm_of_features_goes_into_the_linear_layer_before_it() {
    let x = random_picture(&[2, 3, 2, 2]);
    let parts = [[0.5, -1.0], [0.1, 0.2], [-0.5, 0.25], [0.01, 4.0]];
    let norm = |x: &str| node("BatchNormalization", &[x, "s", "t", "m", "v"], "y", vec![]);
    let matrix = random(6, 24);
    let mut constants = vec![weights("w", &[2, 12], &matrix), weights("b", &[2], &[0.5, 1.5])];
    constants.extend(
        ["s", "t", "m", "v"]
            .iter()
            .zip(&parts)
            .map(|(name, part)| weights(name, &[2], part)),
    );
    let normed = |value: Array| {
        let data = value.data.iter().enumerate().map(|(i, x)| {
            let c = i % 2;
            (x - parts[2][c]) / (parts[3][c] + 1e-5f32).sqrt() * parts[0][c] + parts[1][c]
        });
        Array {
            data: data.collect(),
            shape: value.shape,
        }
    };
    let gemm = || {
        vec![
            node("Flatten", &["x"], "f", vec![]),
            node("Gemm", &["f", "w", "b"], "g", vec![int("transB", 1)]),
        ]
    };
    let wanted = product(&x, &matrix, &[0.5, 1.5]);

    let found = imported(&file(
        [0, 3, 2, 2],
        [gemm(), vec![norm("g")]].concat(),
        constants.clone(),
    ));
    assert_eq!(ops(&found)[2..], [&Op::Linear { out: 2, bias: true }]);
    assert_near("folded", &run(&found, &x), &normed(wanted.clone()));

    // A bias that was merged before is no obstacle.
    let columns: Vec<f32> = (0..24).map(|i| matrix[i % 2 * 12 + i / 2]).collect();
    let apart = vec![
        node("Flatten", &["x"], "f", vec![]),
        node("MatMul", &["f", "wt"], "p", vec![]),
        node("Add", &["p", "b"], "g", vec![]),
        norm("g"),
    ];
    let mut transposed = constants.clone();
    transposed.push(weights("wt", &[12, 2], &columns));
    let found = imported(&file([0, 3, 2, 2], apart, transposed));
    assert_eq!(ops(&found)[2..], [&Op::Linear { out: 2, bias: true }]);
    assert_near("bias apart", &run(&found, &x), &normed(wanted.clone()));

    // Not where something else reads that layer.
    let both = [gemm(), vec![norm("g"), node("Add", &["y", "g"], "z", vec![])]].concat();
    let found = imported(&file([0, 3, 2, 2], both, constants.clone()));
    let mut sum = normed(wanted.clone());
    sum.data.iter_mut().zip(&wanted.data).for_each(|(a, b)| *a += b);
    assert_near("read twice", &run(&found, &x), &sum);

    let relu = [gemm(), vec![node("Relu", &["g"], "r", vec![]), norm("r")]].concat();
    let found = imported(&file([0, 3, 2, 2], relu, constants));
    let mut above = wanted;
    above.data.iter_mut().for_each(|x| *x = x.max(0.0));
    assert_near("of its own", &run(&found, &x), &normed(above));
}
