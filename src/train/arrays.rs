//! Pictures to arrays and tensors, and back.

use candle_core::{Device, Tensor};

use crate::Result;
use crate::exec::candle::Network;
use crate::graph::Array;
use crate::pixels::Image;
use crate::tasks::batch;

/// `[N, C, H, W]` of pictures of one shape; there must be one at least.
pub fn stack(images: &[Image]) -> Array {
    batch(&images.iter().collect::<Vec<_>>())
}

/// On `device`.
pub fn to_tensor(array: &Array, device: &Device) -> Result<Tensor> {
    Ok(Tensor::from_slice(&array.data, array.shape.as_slice(), device)?)
}

/// The pictures of `[N, C, H, W]`.
pub fn to_images(tensor: &Tensor) -> Result<Vec<Image>> {
    let (_, channels, height, width) = tensor.dims4()?;
    let data: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
    let image = |chunk: &[f32]| Image {
        channels,
        height,
        width,
        data: chunk.to_vec(),
    };
    Ok(data.chunks(channels * height * width).map(image).collect())
}

/// All outputs of the network for these inputs, batch norms in inference.
pub fn infer_all(network: &Network, inputs: &[Array], device: &Device) -> Result<Vec<Array>> {
    let inputs = inputs
        .iter()
        .map(|a| to_tensor(a, device))
        .collect::<Result<Vec<_>>>()?;
    let array = |tensor: &Tensor| {
        Ok(Array {
            shape: tensor.dims().to_vec(),
            data: tensor.flatten_all()?.to_vec1()?,
        })
    };
    network.forward(&inputs, false)?.iter().map(array).collect()
}

/// First output of the network for these pictures (and extra inputs), batch norms in inference.
pub fn infer(network: &Network, inputs: &[Array], device: &Device) -> Result<Tensor> {
    let inputs = inputs
        .iter()
        .map(|a| to_tensor(a, device))
        .collect::<Result<Vec<_>>>()?;
    first_output(network, &inputs, false)
}

/// First output of the network.
pub fn first_output(network: &Network, inputs: &[Tensor], train: bool) -> Result<Tensor> {
    let outputs = network.forward(inputs, train)?;
    Ok(outputs
        .into_iter()
        .next()
        .expect("a graph's shapes are checked before training, and it has an output"))
}
