//! Convolution and its companions on CPU vectors: forward and backward.
