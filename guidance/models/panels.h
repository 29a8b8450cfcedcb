// Matrix products of numbers in panels of channels, with vectors as long as the processor's, in the language that
// GCC and Clang share. Comes before the kernels that use it.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>
#include <type_traits>
#include <utility>

namespace {

constexpr int PANEL = 32;  // channels whose values are next to each other
constexpr int AHEAD = 64;  // rows of a panel, from the one that is multiplied to one that is brought into the cache
constexpr int DEPTH = 64;  // rows of two panels that stay in the first cache while they are multiplied

// Rows of a product whose sums, two vectors each, have room in the registers.
#if defined(__AVX512F__)
constexpr int BYTES = 64, ROWS = 14;
#elif defined(__AVX__)
constexpr int BYTES = 32, ROWS = 6;
#elif defined(__aarch64__)
constexpr int BYTES = 16, ROWS = 12;
#else
constexpr int BYTES = 16, ROWS = 6;
#endif

template <typename T>
struct Vector {
  typedef std::conditional_t<sizeof(T) == 4, int32_t, int64_t> Lane;
  typedef T type __attribute__((vector_size(BYTES)));
  typedef Lane lanes __attribute__((vector_size(BYTES)));  // of all bits or none
  typedef T anywhere __attribute__((vector_size(BYTES), aligned(sizeof(T)), may_alias));
  static constexpr int size = BYTES / sizeof(T);
};

// In one instruction.
template <typename T>
typename Vector<T>::type load(const T* from) {
  return *reinterpret_cast<const typename Vector<T>::anywhere*>(from);
}

template <typename T>
void store(T* to, typename Vector<T>::type vector) {
  *reinterpret_cast<typename Vector<T>::anywhere*>(to) = vector;
}

// Of channels that may be fewer than a vector's, zeros for the others.
template <typename T>
typename Vector<T>::type load_some(const T* from, int64_t channels) {
  if (channels >= Vector<T>::size) return load(from);
  typename Vector<T>::type vector = {};
  if (channels > 0) std::memcpy(&vector, from, channels * sizeof(T));
  return vector;
}

template <typename T>
void store_some(T* to, typename Vector<T>::type vector, int64_t channels) {
  if (channels >= Vector<T>::size) {
    store(to, vector);
  } else if (channels > 0) {
    std::memcpy(to, &vector, channels * sizeof(T));
  }
}

#if __has_builtin(__builtin_shufflevector)
// Lanes of which `step` is no part, of the one, and the others, of the other: each its own, or all from a step away.
template <int step, bool high, typename V, size_t... lane>
V mixed(V one, V other, std::index_sequence<lane...>) {
  constexpr int size = sizeof...(lane);
  return __builtin_shufflevector(one, other,
                                 (lane & step ? size + lane - (high ? 0 : step) : lane + (high ? step : 0))...);
}
#endif

// As many vectors as one has lanes: squares of 1, 2, 4, ... lanes beside the diagonal change places.
template <typename T, int step = 1>
void transpose(typename Vector<T>::type* rows) {
  constexpr int size = Vector<T>::size;
  if constexpr (step < size) {
#if __has_builtin(__builtin_shufflevector)
    constexpr std::make_index_sequence<size> lanes{};
    for (int row = 0; row < size; ++row) {
      if (row & step) continue;
      const typename Vector<T>::type one = rows[row], other = rows[row + step];
      rows[row] = mixed<step, false>(one, other, lanes);
      rows[row + step] = mixed<step, true>(one, other, lanes);
    }
    transpose<T, step * 2>(rows);
#else
    for (int row = 0; row < size; ++row) {
      for (int lane = 0; lane < row; ++lane) std::swap(rows[row][lane], rows[lane][row]);
    }
#endif
  }
}

// A square of numbers, of which at most PANEL rows, `apart`, are there and the others zeros: turned, to [PANEL, PANEL].
// The next one is brought into the cache.
template <typename T>
void turn(const T* from, const T* next, int64_t apart, int64_t rows, T* to) {
  constexpr int size = Vector<T>::size;
  for (int row = 0; row < PANEL; row += size) {
    for (int column = 0; column < PANEL; column += size) {
      typename Vector<T>::type square[size] = {};
      const int64_t number = std::min<int64_t>(size, rows - row);
      for (int64_t k = 0; k < number; ++k) {
        const int64_t place = (row + k) * apart + column;
        __builtin_prefetch(next + place);
        square[k] = load(from + place);
      }
      transpose<T>(square);
      for (int k = 0; k < size; ++k) store(to + (column + k) * PANEL + row, square[k]);
    }
  }
}

inline int64_t parts(int64_t whole, int64_t part) { return (whole + part - 1) / part; }

// Memory in lines of the cache, with no values at first.
template <typename T>
struct Room {
  explicit Room(int64_t size) : memory(static_cast<T*>(::operator new(size * sizeof(T), std::align_val_t{64}))) {}
  ~Room() { ::operator delete(memory, std::align_val_t{64}); }
  Room(const Room&) = delete;
  T* const memory;
};

// c [rows, 2 vectors] = a [rows, columns] b [columns, 2 vectors], added to what is there if asked.
// Rows of b are a panel's, and those of a, or, if it is turned, its columns, `a_apart`. Rows of c are `apart`.
template <int rows, bool turned, typename T>
void product(const T* a, int64_t a_apart, const T* b, T* c, int64_t apart, int64_t columns, bool adds) {
  constexpr int size = Vector<T>::size;
  typename Vector<T>::type left[rows] = {}, right[rows] = {};
  for (int64_t k = 0; k < columns; ++k) {
    if constexpr (!turned) {
      __builtin_prefetch(b + (k + AHEAD) * PANEL);
      __builtin_prefetch(b + (k + AHEAD) * PANEL + size);
    }
    const typename Vector<T>::type b_left = load(b + k * PANEL), b_right = load(b + k * PANEL + size);
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
      const T factor = a[turned ? k * a_apart + i : i * PANEL + k];
      left[i] += factor * b_left;
      right[i] += factor * b_right;
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i) {
    T* to = c + i * apart;
    store(to, adds ? load(to) + left[i] : left[i]);
    store(to + size, adds ? load(to + size) + right[i] : right[i]);
  }
}

// c [rows, PANEL] = a [rows, depth] b [depth, PANEL], for at most `most` rows. `a_panel` numbers further are the next
// PANEL columns of a. Sums of so many come first, and are added up: that rounds less than one sum.
template <int most, bool turned, typename T>
void product_of(int64_t rows, const T* a, int64_t a_panel, const T* b, T* c, int64_t apart, int64_t depth, bool adds) {
  if constexpr (most > 1) {
    if (rows < most) return product_of<most - 1, turned>(rows, a, a_panel, b, c, apart, depth, adds);
  }
  for (int64_t k = 0; k < depth; k += PANEL, a += a_panel) {
    for (int64_t j = 0; j < PANEL; j += 2 * Vector<T>::size) {
      const int64_t columns = std::min<int64_t>(PANEL, depth - k);
      product<most, turned>(a, a_panel / PANEL, b + k * PANEL + j, c + j, apart, columns, adds || k > 0);
    }
  }
}

// Calls a function of a first row and a number of rows, of as many as a product takes, and as even as they can be.
template <typename Function>
void for_blocks(int64_t begin, int64_t end, Function function) {
  const int64_t blocks = parts(end - begin, ROWS);
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t top = begin + block * (end - begin) / blocks;
    function(top, begin + (block + 1) * (end - begin) / blocks - top);
  }
}

// In how many blocks such a product is computed.
inline int64_t blocks_of_panels(int64_t rows, int64_t depth) { return parts(depth, DEPTH) * parts(rows, ROWS); }

inline void nothing() {}

// c [rows, PANEL] = a^T b, of the first columns of a panel [depth, PANEL] and another one; added to what is there if
// asked. Something else may be done before each block.
template <typename T, typename Function = void (*)()>
void product_of_panels(int64_t rows, const T* a, const T* b, T* c, int64_t apart, int64_t depth, bool adds,
                       Function before = nothing) {
  for (int64_t k = 0; k < depth; k += DEPTH) {
    for_blocks(0, rows, [&](int64_t top, int64_t some) {
      before();
      product_of<ROWS, true>(some, a + k * PANEL + top, PANEL * PANEL, b + k * PANEL, c + top * apart, apart,
                             std::min<int64_t>(DEPTH, depth - k), adds || k > 0);
    });
  }
}

}  // namespace
