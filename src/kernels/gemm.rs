//! Matrix products on slices, for fully connected layers.

/// A row-major matrix, read as it is or transposed.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    transposed: bool,
}

impl<'a> Matrix<'a> {
    /// `rows` x `cols` values.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols);
        Self {
            data,
            rows,
            cols,
            transposed: false,
        }
    }

    /// The transposed matrix, without moving a value.
    pub fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            transposed: !self.transposed,
            ..self
        }
    }

    /// Steps from one column to the next, and from one row to the next.
    fn strides(&self) -> (isize, isize) {
        if self.transposed {
            (self.rows as isize, 1)
        } else {
            (1, self.cols as isize)
        }
    }
}

/// `out = a · b`, row-major.
pub fn matmul(a: Matrix, b: Matrix, out: &mut [f32]) {
    assert!(a.cols == b.rows && out.len() == a.rows * b.cols);
    let ((a_col, a_row), (b_col, b_row)) = (a.strides(), b.strides());
    // SAFETY: the sizes of all three matrices were checked against their slices (here and in `Matrix::new`), and `out`
    // is borrowed mutably, so it overlaps neither factor.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            out.as_mut_ptr(),
            1,
            b.cols as isize,
            false,
            a.data.as_ptr(),
            a_col,
            a_row,
            b.data.as_ptr(),
            b_col,
            b_row,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiplies_as_it_stands_and_transposed() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let mut out = [0.0; 4];
        matmul(Matrix::new(&a, 2, 3), Matrix::new(&a, 2, 3).t(), &mut out);
        assert_eq!(out, [14.0, 32.0, 32.0, 77.0]);
        let mut out = [0.0; 9];
        matmul(Matrix::new(&a, 2, 3).t(), Matrix::new(&a, 2, 3), &mut out);
        assert_eq!(out, [17.0, 22.0, 27.0, 22.0, 29.0, 36.0, 27.0, 36.0, 45.0]);
    }
}
