// Tiles of images to their values at 36 pairs of points, and back: the sums of winograd.py.
// Channels last. Vectors are as many channels as fill 64 bytes, of GCC and Clang alike.

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace {

constexpr int VALUES = 6;  // of a row or column of a tile, one for each point
constexpr int TILE = 4;    // pixels of the output; tiles of an input overlap

// Points: 0, the square roots of 2 and of 1/2 with both signs, infinity.
constexpr double A = 1.41421356237309504880, B = 0.70710678118654752440;

struct FromInput {
  static constexpr int size = 6;
  static constexpr double of[VALUES][6] = {
      {1, 0, -2.5, 0, 1, 0},
      {0, -1 / 6., -B / 6, 1 / 3., A / 6, 0},
      {0, -1 / 6., B / 6, 1 / 3., -A / 6, 0},
      {0, 2 / 3., 2 * A / 3, -1 / 3., -A / 3, 0},
      {0, 2 / 3., -2 * A / 3, -1 / 3., A / 3, 0},
      {0, 1, 0, -2.5, 0, 1},
  };
};

struct FromFilter {
  static constexpr int size = 3;
  static constexpr double of[VALUES][3] = {{1, 0, 0}, {B, 1, A}, {-B, 1, -A}, {A, 1, B}, {-A, 1, -B}, {0, 0, 1}};
};

struct FromOutput {
  static constexpr int size = TILE;
  static constexpr double of[VALUES][TILE] = {
      {1, 0, 0, 0}, {1, A, 2, 2 * A}, {1, -A, 2, -2 * A}, {1, B, 0.5, B / 2}, {1, -B, 0.5, -B / 2}, {0, 0, 0, 1},
  };
};

template <typename Matrix>
struct Turned {
  static constexpr double at(int row, int column) { return Matrix::of[column][row]; }
};

template <typename Matrix>
struct Straight {
  static constexpr double at(int row, int column) { return Matrix::of[row][column]; }
};

template <typename T>
struct Vector {
  typedef T type __attribute__((vector_size(64)));
  static constexpr int size = 64 / sizeof(T);
};

// A sum of which the coefficients are known when this is compiled, those that are 0 left out.
template <typename Matrix, int row, int column, int columns, typename T, typename V>
inline void add(V& sum, const V* parts, int stride) {
  if constexpr (column < columns) {
    constexpr double factor = Matrix::at(row, column);
    if constexpr (factor == 1) {
      sum += parts[column * stride];
    } else if constexpr (factor != 0) {
      sum += parts[column * stride] * T(factor);
    }
    add<Matrix, row, column + 1, columns, T>(sum, parts, stride);
  }
}

template <typename Matrix, int row, int rows, int columns, typename T, typename V>
inline void multiply(V* out, int out_stride, const V* parts, int stride) {
  if constexpr (row < rows) {
    V sum = {};
    add<Matrix, row, 0, columns, T>(sum, parts, stride);
    out[row * out_stride] = sum;
    multiply<Matrix, row + 1, rows, columns, T>(out, out_stride, parts, stride);
  }
}

// out [rows, rows] = matrix in [columns, columns] matrix^T
template <typename Matrix, int rows, int columns, typename T, typename V>
inline void both_sides(V* out, const V* in) {
  V half[rows * columns];
  for (int k = 0; k < columns; ++k) multiply<Matrix, 0, rows, columns, T>(half + k, columns, in + k, columns);
  for (int k = 0; k < rows; ++k) multiply<Matrix, 0, rows, columns, T>(out + k * rows, 1, half + k * columns, 1);
}

// A filter that is turned around has its values at inverse points.
inline int place(int value, bool back) {
  constexpr int inverse[VALUES] = {5, 3, 4, 1, 2, 0};
  return back ? inverse[value / VALUES] * VALUES + inverse[value % VALUES] : value;
}

// All of a vector in one instruction, which a number of bytes that is not known would prevent.
inline void copy(void* to, const void* from, size_t bytes) {
  if (bytes == 64) {
    std::memcpy(to, from, 64);
  } else {
    std::memcpy(to, from, bytes);
  }
}

// x [images, height, width, channels] to values [36, tiles, channels].
template <typename T, typename Matrix>
void tiles(const T* x, T* values, int64_t stride, int64_t images, int64_t height, int64_t width, int64_t channels,
           int64_t padding, bool back, int threads) {
  typedef typename Vector<T>::type V;
  constexpr int size = Matrix::size, block = Vector<T>::size;
  const int64_t down = (height + TILE - 1) / TILE, right = (width + TILE - 1) / TILE;
  const int64_t count = images * down * right;
#pragma omp parallel for num_threads(threads)
  for (int64_t tile = 0; tile < count; ++tile) {
    const int64_t top = tile / right % down * TILE - padding, left = tile % right * TILE - padding;
    const T* image = x + tile / (right * down) * height * width * channels;
    for (int64_t channel = 0; channel < channels; channel += block) {
      const size_t bytes = sizeof(T) * std::min<int64_t>(block, channels - channel);
      V pixels[size * size] = {}, out[VALUES * VALUES];
      for (int i = 0; i < size; ++i) {
        for (int j = 0; j < size; ++j) {
          const int64_t row = top + i, column = left + j;
          if (row < 0 || row >= height || column < 0 || column >= width) continue;
          const T* from = image + (row * width + column) * channels + channel;
          copy(&pixels[i * size + j], from, bytes);
        }
      }
      both_sides<Straight<Matrix>, VALUES, size, T>(out, pixels);
      for (int k = 0; k < VALUES * VALUES; ++k) {
        T* to = values + place(k, back) * stride + tile * channels + channel;
        copy(to, &out[k], bytes);
      }
    }
  }
}

// values [36, tiles, channels] to y [images, height, width, channels].
template <typename T>
void pixels(const T* values, int64_t stride, T* y, int64_t images, int64_t height, int64_t width, int64_t channels,
            bool back, int threads) {
  typedef typename Vector<T>::type V;
  constexpr int block = Vector<T>::size;
  const int64_t down = (height + TILE - 1) / TILE, right = (width + TILE - 1) / TILE;
  const int64_t count = images * down * right;
#pragma omp parallel for num_threads(threads)
  for (int64_t tile = 0; tile < count; ++tile) {
    const int64_t top = tile / right % down * TILE, left = tile % right * TILE;
    T* image = y + tile / (right * down) * height * width * channels;
    for (int64_t channel = 0; channel < channels; channel += block) {
      const size_t bytes = sizeof(T) * std::min<int64_t>(block, channels - channel);
      V in[VALUES * VALUES] = {}, out[TILE * TILE];
      for (int k = 0; k < VALUES * VALUES; ++k) {
        const T* from = values + place(k, back) * stride + tile * channels + channel;
        copy(&in[k], from, bytes);
      }
      both_sides<Turned<FromOutput>, TILE, VALUES, T>(out, in);
      for (int i = 0; i < TILE && top + i < height; ++i) {
        for (int j = 0; j < TILE && left + j < width; ++j) {
          T* to = image + ((top + i) * width + left + j) * channels + channel;
          copy(to, &out[i * TILE + j], bytes);
        }
      }
    }
  }
}

// in [columns * columns, count] to out [rows * rows, count]: filters to their values, or gradients back.
template <typename T, typename Matrix, int rows, int columns>
void filters(const T* in, int64_t in_stride, T* out, int64_t out_stride, int64_t count, int threads) {
  typedef typename Vector<T>::type V;
  constexpr int block = Vector<T>::size;
#pragma omp parallel for num_threads(threads)
  for (int64_t first = 0; first < count; first += block) {
    const size_t bytes = sizeof(T) * std::min<int64_t>(block, count - first);
    V from[columns * columns] = {}, to[rows * rows];
    for (int k = 0; k < columns * columns; ++k) copy(&from[k], in + k * in_stride + first, bytes);
    both_sides<Matrix, rows, columns, T>(to, from);
    for (int k = 0; k < rows * rows; ++k) copy(out + k * out_stride + first, &to[k], bytes);
  }
}

}  // namespace

#define EXPORTED(T)                                                                                                \
  extern "C" void tiles_of_input_##T(const T* x, T* values, int64_t stride, int64_t images, int64_t height,       \
                                     int64_t width, int64_t channels, int back, int threads) {                    \
    tiles<T, FromInput>(x, values, stride, images, height, width, channels, 1, back, threads);                    \
  }                                                                                                               \
  extern "C" void tiles_of_output_##T(const T* x, T* values, int64_t stride, int64_t images, int64_t height,      \
                                      int64_t width, int64_t channels, int back, int threads) {                   \
    tiles<T, FromOutput>(x, values, stride, images, height, width, channels, 0, back, threads);                   \
  }                                                                                                               \
  extern "C" void pixels_##T(const T* values, T* y, int64_t stride, int64_t images, int64_t height,               \
                             int64_t width, int64_t channels, int back, int threads) {                            \
    pixels<T>(values, stride, y, images, height, width, channels, back, threads);                                 \
  }                                                                                                               \
  extern "C" void values_of_filters_##T(const T* taps, T* values, int64_t stride, int64_t count, int threads) {   \
    filters<T, Straight<FromFilter>, VALUES, 3>(taps, count, values, stride, count, threads);                     \
  }                                                                                                               \
  extern "C" void gradients_of_filters_##T(const T* values, T* taps, int64_t stride, int64_t count, int threads) { \
    filters<T, Turned<FromFilter>, 3, VALUES>(values, stride, taps, count, count, threads);                       \
  }

EXPORTED(float)
EXPORTED(double)
