use super::*;
use crate::graph::{Builder, Interpolation};

const CONV: Op = Op::Conv2d {
    out: 6,
    kernel: 3,
    stride: 1,
    padding: 1,
    padding_mode: Padding::Zero,
    dilation: 1,
    groups: 1,
    bias: true,
    frozen: false,
};

/// Shape or message of one op named `y` on an input of `shape`.
fn one(op: Op, shape: [usize; 4]) -> std::result::Result<Vec<usize>, String> {
    let mut b = Builder::new();
    let x = b.input("x", shape[1]);
    let y = b.node("y", op, &[&x]);
    let shapes = b.finish(&[&y]).shapes(&[shape.to_vec()]).map_err(|e| e.to_string())?;
    Ok(shapes["y"].clone())
}

/// A convolution with some of its fields changed.
fn conv_with(change: impl FnOnce(&mut usize, &mut usize, &mut usize, &mut usize, &mut usize)) -> Op {
    let mut op = CONV;
    if let Op::Conv2d {
        kernel,
        stride,
        padding,
        dilation,
        groups,
        ..
    } = &mut op
    {
        change(kernel, stride, padding, dilation, groups);
    }
    op
}

#[test]
fn convolution_sizes() {
    assert_eq!(one(CONV, [2, 3, 5, 7]).unwrap(), [2, 6, 5, 7]);
    let strided = conv_with(|k, s, p, _, _| (*k, *s, *p) = (4, 2, 1));
    assert_eq!(one(strided, [1, 3, 8, 9]).unwrap(), [1, 6, 4, 4]);
    let dilated = conv_with(|_, _, p, d, _| (*p, *d) = (0, 3));
    assert_eq!(one(dilated.clone(), [1, 3, 7, 8]).unwrap(), [1, 6, 1, 2]);
    assert!(
        one(dilated, [1, 3, 6, 8])
            .unwrap_err()
            .starts_with("node `y`: a kernel reaching 7 pixels")
    );
}

#[test]
fn convolution_faults_name_the_node() {
    let fault = |op, shape, text: &str| {
        let message = one(op, shape).unwrap_err();
        assert!(message.starts_with("node `y`: ") && message.contains(text), "{message}");
    };
    fault(
        conv_with(|_, _, _, _, g| *g = 2),
        [1, 3, 8, 8],
        "channels in 3 is not a multiple of 2",
    );
    fault(
        conv_with(|_, _, _, _, g| *g = 5),
        [1, 5, 8, 8],
        "channels out 6 is not a multiple of 5",
    );
    fault(conv_with(|_, _, _, _, g| *g = 0), [1, 5, 8, 8], "groups 0");
    fault(conv_with(|_, s, _, _, _| *s = 0), [1, 3, 8, 8], "stride 0");
    fault(conv_with(|k, _, _, _, _| *k = 0), [1, 3, 8, 8], "kernel 0");
    fault(conv_with(|k, _, _, _, _| *k = 257), [1, 3, 8, 8], "kernel 257");
    fault(conv_with(|_, _, _, d, _| *d = usize::MAX), [1, 3, 8, 8], "dilation");
    fault(conv_with(|_, _, p, _, _| *p = usize::MAX), [1, 3, 8, 8], "padding");
    let mut reflect = conv_with(|_, _, p, _, _| *p = 2);
    if let Op::Conv2d { padding_mode, .. } = &mut reflect {
        *padding_mode = Padding::Reflect;
    }
    fault(reflect, [1, 3, 8, 2], "reflection by 2");
}

#[test]
fn transposed_convolution_sizes() {
    let op = |kernel, stride, padding, output_padding| Op::ConvTranspose2d {
        out: 4,
        kernel,
        stride,
        padding,
        output_padding,
        groups: 2,
        bias: false,
    };
    assert_eq!(one(op(4, 2, 1, 0), [1, 6, 5, 7]).unwrap(), [1, 4, 10, 14]);
    assert_eq!(one(op(3, 2, 1, 1), [1, 6, 5, 7]).unwrap(), [1, 4, 10, 14]);
    assert!(
        one(op(3, 2, 1, 2), [1, 6, 5, 7])
            .unwrap_err()
            .contains("output_padding 2")
    );
    assert!(
        one(op(2, 1, 3, 0), [1, 6, 2, 2])
            .unwrap_err()
            .contains("cuts away all 3")
    );
}

#[test]
fn pools_and_shuffles() {
    let max = |kernel, stride, padding| Op::MaxPool {
        kernel,
        stride,
        padding,
    };
    assert_eq!(one(max(2, 2, 0), [1, 3, 7, 8]).unwrap(), [1, 3, 3, 4]);
    assert_eq!(
        one(
            Op::AvgPool {
                kernel: 3,
                stride: 2,
                padding: 1
            },
            [1, 3, 7, 8]
        )
        .unwrap(),
        [1, 3, 4, 4]
    );
    assert!(one(max(2, 2, 2), [1, 3, 7, 8]).unwrap_err().contains("half the kernel"));
    assert!(one(max(9, 1, 0), [1, 3, 8, 8]).unwrap_err().contains("does not fit"));
    assert_eq!(one(Op::GlobalAvgPool, [2, 3, 7, 8]).unwrap(), [2, 3, 1, 1]);
    assert_eq!(
        one(Op::PixelUnshuffle { factor: 2 }, [1, 3, 6, 8]).unwrap(),
        [1, 12, 3, 4]
    );
    assert!(
        one(Op::PixelUnshuffle { factor: 2 }, [1, 3, 6, 7])
            .unwrap_err()
            .contains("width 7")
    );
    assert!(
        one(Op::PixelUnshuffle { factor: 0 }, [1, 3, 6, 7])
            .unwrap_err()
            .contains("factor 0")
    );
    assert_eq!(
        one(Op::PixelShuffle { factor: 2 }, [1, 12, 3, 4]).unwrap(),
        [1, 3, 6, 8]
    );
    assert!(
        one(Op::PixelShuffle { factor: 2 }, [1, 6, 3, 4])
            .unwrap_err()
            .contains("channels 6")
    );
    let up = Op::Upsample {
        factor: 3,
        mode: Interpolation::Nearest,
    };
    assert_eq!(one(up, [1, 2, 3, 4]).unwrap(), [1, 2, 9, 12]);
    assert_eq!(one(Op::Flatten, [2, 3, 4, 5]).unwrap(), [2, 60]);
}

#[test]
fn joins_and_sums_agree_in_size() {
    let two = |op: Op, a: [usize; 4], b: [usize; 4]| {
        let mut graph = Builder::new();
        let (x, z) = (graph.input("x", a[1]), graph.input("z", b[1]));
        let y = graph.node("y", op, &[&x, &z]);
        graph
            .finish(&[&y])
            .shapes(&[a.to_vec(), b.to_vec()])
            .map(|s| s["y"].clone())
            .map_err(|e| e.to_string())
    };
    assert_eq!(two(Op::Concat, [2, 3, 4, 5], [2, 1, 4, 5]).unwrap(), [2, 4, 4, 5]);
    assert!(
        two(Op::Concat, [2, 3, 4, 5], [2, 3, 4, 6])
            .unwrap_err()
            .starts_with("node `y`: cannot join")
    );
    assert_eq!(two(Op::Sub, [2, 3, 4, 5], [2, 3, 4, 5]).unwrap(), [2, 3, 4, 5]);
    assert!(
        two(Op::Add, [2, 3, 4, 5], [2, 3, 1, 1])
            .unwrap_err()
            .contains("different shapes")
    );
    assert!(
        two(Op::Add, [2, 3, 4, 5], [1, 3, 4, 5])
            .unwrap_err()
            .starts_with("node `z`: a batch of 1")
    );
}

#[test]
fn scalars_are_finite() {
    assert!(
        one(Op::BatchNorm { eps: 0.0 }, [1, 1, 1, 1])
            .unwrap_err()
            .contains("eps")
    );
    assert!(
        one(Op::LeakyRelu { slope: f64::NAN }, [1, 1, 1, 1])
            .unwrap_err()
            .contains("slope")
    );
    assert!(
        one(
            Op::Scale {
                scale: 1.0,
                shift: f64::INFINITY
            },
            [1, 1, 1, 1]
        )
        .unwrap_err()
        .contains("shift")
    );
    assert!(
        one(Op::Linear { out: 3, bias: true }, [1, 3, 1, 1])
            .unwrap_err()
            .contains("[N, features]")
    );
}

#[test]
fn inputs_fit_and_huge_sizes_do_not_overflow() {
    let mut b = Builder::new();
    let x = b.input("x", 3);
    let graph = b.finish(&[&x]);
    assert!(
        graph
            .shapes(&[])
            .unwrap_err()
            .to_string()
            .contains("takes 1 inputs, not 0")
    );
    assert!(
        graph
            .shapes(&[vec![1, 1, 8, 8]])
            .unwrap_err()
            .to_string()
            .contains("3 channels, not 1")
    );
    assert!(
        graph
            .shapes(&[vec![1, 3, 0, 8]])
            .unwrap_err()
            .to_string()
            .contains("empty")
    );
    assert!(
        graph
            .shapes(&[vec![1, 3, 8]])
            .unwrap_err()
            .to_string()
            .contains("[N, C, H, W]")
    );
    assert!(graph.shapes(&[vec![usize::MAX, 3, usize::MAX, 2]]).is_err());

    let mut b = Builder::new();
    let mut x = b.input("x", 1);
    for i in 0..8 {
        let up = Op::Upsample {
            factor: 65_536,
            mode: Interpolation::Nearest,
        };
        x = b.node(format!("up{i}"), up, &[&x]);
    }
    let message = b.finish(&[&x]).shapes(&[vec![1, 1, 1, 1]]).unwrap_err().to_string();
    assert!(message.starts_with("node `up0`"), "{message}");
}
