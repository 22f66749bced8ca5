#!/usr/bin/env bash
# Lays the parts of the CUDA 13.0 toolkit that the build needs in DIR, from NVIDIA's wheels on PyPI, for machines
# without a toolkit. For `cargo check` and for building; running needs the driver of the machine with the GPU.
#
#   scripts/cuda-toolkit.sh DIR
#   CUDA_HOME=DIR CUDA_COMPUTE_CAP=90 PATH=DIR/bin:$PATH cargo check --release --workspace --features cuda
set -euo pipefail

[ $# -eq 1 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1"
dir=$(cd "$1" && pwd)
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT

python3 -m pip download --quiet --no-deps --dest "$wheels" \
    'nvidia-cuda-nvcc==13.0.*' 'nvidia-cuda-crt==13.0.*' 'nvidia-nvvm==13.0.*' \
    'nvidia-cuda-runtime==13.0.*' 'nvidia-cuda-cccl==13.0.*' \
    'nvidia-cuda-nvrtc==13.0.*' 'nvidia-cublas==13.*' 'nvidia-curand==10.4.*'
for wheel in "$wheels"/*.whl; do
    python3 -m zipfile -e "$wheel" "$wheels/tree"
done
cp -a "$wheels"/tree/nvidia/cu13/. "$dir"
chmod +x "$dir"/bin/* "$dir"/nvvm/bin/*
# The linker looks for unversioned names in lib64.
ln -sfn lib "$dir/lib64"
for library in "$dir"/lib/lib*.so.*; do
    ln -sf "$(basename "$library")" "${library%%.so.*}.so"
done
# libcuda comes with the driver: for the linker, a library of its name with its functions.
mkdir -p "$dir/lib/stubs"
echo '#include <cuda.h>' | gcc -E -P -I "$dir/include" - | grep -oE '\bcu[A-Z][A-Za-z0-9_]* *\(' | tr -d ' (' | sort -u |
    sed 's/.*/void &(void) {}/' | gcc -shared -fPIC -Wl,-soname,libcuda.so.1 -x c -o "$dir/lib/stubs/libcuda.so" -
"$dir/bin/nvcc" --version | tail -n 2
