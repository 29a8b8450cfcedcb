// Convolutions with 3x3 filters by values at 36 pairs of points: the sums and products of winograd.py.
// Channels last. What comes before this is panels.h.

namespace {

constexpr int VALUES = 6;               // of a row or column of a tile, one for each point
constexpr int POINTS = VALUES * VALUES;
constexpr int TILE = 4;                 // pixels of the output; tiles of an input overlap
constexpr int64_t CACHE = 4 << 20;      // bytes that are taken to stay in the cache, of each thread
constexpr int64_t OWN_CACHE = 1 << 20;  // of what no other thread reads
constexpr int64_t FEWEST = 28;          // tiles that are worth reading all filters for

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

// Points are 0, two pairs that differ in their sign alone, infinity. Of a pair's rows some numbers are the same and the
// others opposite: these are the rows of the one and of the other, of which both are the sum and the difference.
template <typename Matrix>
struct Halves {
  static constexpr double at(int row, int column) {
    if (row == 0 || row == VALUES - 1) return Matrix::of[row][column];
    const int first = (row - 1) / 2 * 2 + 1;
    const bool same = Matrix::of[first][column] == Matrix::of[first + 1][column];
    return same == (row == first) ? Matrix::of[first][column] : 0;
  }
};

template <typename Matrix>
struct TurnedHalves {
  static constexpr double at(int row, int column) { return Halves<Matrix>::at(column, row); }
};

// A sum of which the coefficients are known when this is compiled, those that are 0 left out.
template <typename Matrix, int row, int column, int columns, bool begun, typename T, typename V>
inline void add(V& sum, const V* parts, int stride) {
  if constexpr (column < columns) {
    constexpr double factor = Matrix::at(row, column);
    if constexpr (factor == 1) {
      sum = begun ? sum + parts[column * stride] : parts[column * stride];
    } else if constexpr (factor != 0) {
      const V part = parts[column * stride] * T(factor);
      sum = begun ? sum + part : part;
    }
    add<Matrix, row, column + 1, columns, begun || factor != 0, T>(sum, parts, stride);
  } else {
    static_assert(begun, "a row of zeros would leave the sum as it is");
  }
}

template <typename Matrix, int row, int rows, int columns, typename T, typename V>
inline void multiply(V* out, int out_stride, const V* parts, int stride) {
  if constexpr (row < rows) {
    add<Matrix, row, 0, columns, false, T>(out[row * out_stride], parts, stride);
    multiply<Matrix, row + 1, rows, columns, T>(out, out_stride, parts, stride);
  }
}

template <typename V>
inline void sums_and_differences(V* out, int out_stride, const V* in, int stride) {
  out[0] = in[0];
  for (int k = 1; k < VALUES - 1; k += 2) {
    const V one = in[k * stride], other = in[(k + 1) * stride];
    out[k * out_stride] = one + other;
    out[(k + 1) * out_stride] = one - other;
  }
  out[(VALUES - 1) * out_stride] = in[(VALUES - 1) * stride];
}

// To values at all points.
template <typename Matrix>
struct Straight {
  static constexpr int rows = VALUES, columns = Matrix::size;
  template <typename T, typename V>
  static void apply(V* out, int out_stride, const V* in, int stride) {
    V halves[VALUES];
    multiply<Halves<Matrix>, 0, rows, columns, T>(halves, 1, in, stride);
    sums_and_differences(out, out_stride, halves, 1);
  }
};

// The transposed matrix: from values at all points.
template <typename Matrix>
struct Turned {
  static constexpr int rows = Matrix::size, columns = VALUES;
  template <typename T, typename V>
  static void apply(V* out, int out_stride, const V* in, int stride) {
    V halves[VALUES];
    sums_and_differences(halves, 1, in, stride);
    multiply<TurnedHalves<Matrix>, 0, rows, columns, T>(out, out_stride, halves, 1);
  }
};

// out [rows, rows] = matrix in [columns, columns] matrix^T
template <typename Matrix, typename T, typename V>
inline void both_sides(V* out, const V* in) {
  constexpr int rows = Matrix::rows, columns = Matrix::columns;
  V half[rows * columns];
  for (int k = 0; k < columns; ++k) Matrix::template apply<T>(half + k, columns, in + k, columns);
  for (int k = 0; k < rows; ++k) Matrix::template apply<T>(out + k * rows, 1, half + k * columns, 1);
}

// A filter that is turned around has its values at inverse points.
inline int turned_around(int64_t point) {
  constexpr int inverse[VALUES] = {5, 3, 4, 1, 2, 0};
  return inverse[point / VALUES] * VALUES + inverse[point % VALUES];
}

// PANEL numbers of each pair of points, panel of channels and row: so many `apart` from one pair to the next, and
// `panel_apart` from one panel.
template <typename T>
struct Values {
  T* memory;
  int64_t apart, panel_apart;
  T* at(int64_t point, int64_t panel, int64_t row) const {
    return memory + point * apart + panel * panel_apart + row * PANEL;
  }
};

// A panel's row is left between points: what is a power of two apart would share few lines of the cache.
inline int64_t distance(int64_t rows, int64_t channels) { return (parts(channels, PANEL) * rows + 1) * PANEL; }

// Points first.
template <typename T>
Values<T> by_point(T* memory, int64_t rows, int64_t channels) {
  return {memory, distance(rows, channels), rows * PANEL};
}

template <typename T>
struct OwnValues {
  OwnValues(int64_t rows, int64_t channels)
      : room(POINTS * distance(rows, channels)), values(by_point(room.memory, rows, channels)) {}
  const Room<T> room;
  const Values<T> values;
};

struct Images {
  int64_t count, height, width;
  int64_t down() const { return parts(height, TILE); }
  int64_t right() const { return parts(width, TILE); }
  int64_t tiles() const { return count * down() * right(); }
};

// A tile of x [images, height, width, channels] to a row of values. The tile to its right is brought into the cache.
template <typename T, typename Matrix>
void read_tile(const T* x, Images images, int64_t channels, int64_t tile, Values<T> values, int64_t to_row) {
  constexpr int size = Matrix::size, padding = (size - TILE) / 2;
  const int64_t height = images.height, width = images.width, down = images.down(), right = images.right();
  const int64_t top = tile / right % down * TILE - padding, left = tile % right * TILE - padding;
  const T* image = x + tile / (right * down) * height * width * channels;
  for (int64_t channel = 0; channel < parts(channels, PANEL) * PANEL; channel += Vector<T>::size) {
    typename Vector<T>::type pixels[size * size] = {}, out[POINTS];
    for (int i = 0; i < size; ++i) {
      for (int j = 0; j < size; ++j) {
        const int64_t row = top + i, column = left + j;
        if (row < 0 || row >= height || column < 0 || column >= width) continue;
        const T* from = image + (row * width + column) * channels + channel;
        if (j >= size - TILE) __builtin_prefetch(from + TILE * channels);
        pixels[i * size + j] = load_some(from, channels - channel);
      }
    }
    both_sides<Straight<Matrix>, T>(out, pixels);
    T* to = values.at(0, channel / PANEL, to_row) + channel % PANEL;
    for (int k = 0; k < POINTS; ++k) store(to + k * values.apart, out[k]);
  }
}

// A row of values to a tile of y [images, height, width, channels]. So is the place of the tile to its right.
template <typename T>
void write_tile(Values<T> values, int64_t from_row, T* y, Images images, int64_t channels, int64_t tile) {
  const int64_t height = images.height, width = images.width, down = images.down(), right = images.right();
  const int64_t top = tile / right % down * TILE, left = tile % right * TILE;
  T* image = y + tile / (right * down) * height * width * channels;
  for (int64_t channel = 0; channel < channels; channel += Vector<T>::size) {
    typename Vector<T>::type in[POINTS], out[TILE * TILE];
    const T* from = values.at(0, channel / PANEL, from_row) + channel % PANEL;
    for (int k = 0; k < POINTS; ++k) in[k] = load(from + k * values.apart);
    both_sides<Turned<FromOutput>, T>(out, in);
    for (int i = 0; i < TILE && top + i < height; ++i) {
      for (int j = 0; j < TILE && left + j < width; ++j) {
        T* to = image + ((top + i) * width + left + j) * channels + channel;
        __builtin_prefetch(to + TILE * channels, 1);
        store_some(to, out[i * TILE + j], channels - channel);
      }
    }
  }
}

// How many tiles are computed at a time, of so many channels, so that their values stay in so many bytes of cache.
template <typename T>
int64_t at_once(int64_t tiles, int64_t channels, int64_t fewest, int64_t cache) {
  const int64_t most = std::max<int64_t>(fewest, cache / (POINTS * channels * sizeof(T)));
  return parts(tiles, parts(tiles, most));
}

template <typename T>
struct Convolution {
  const T* x;  // [images, height, width, from]
  T* y;        // [images, height, width, to]
  Images images;
  int64_t from, to;
  Values<T> filters;
  bool back;
  int64_t threads;

  int64_t panels() const { return parts(to, PANEL); }
  int64_t of_filter() const { return parts(from, PANEL) * PANEL * PANEL; }

  // [from, PANEL], which is in memory or computed there.
  const T* filter(int64_t point, int64_t panel, T* memory) const {
    if (back) return filters.at(turned_around(point), panel, 0);
    const int64_t row = panel * PANEL, rows = std::min<int64_t>(PANEL, to - row);
    for (int64_t other = 0; other < parts(from, PANEL); ++other) {
      const T* next = filters.at(point, other + 1, row);
      turn(filters.at(point, other, row), next, PANEL, rows, memory + other * PANEL * PANEL);
    }
    return memory;
  }

  // Of all threads, each of which multiplies all tiles at some points.
  void by_points() const {
    const int64_t count = images.tiles(), some = at_once<T>(count, from + to, 128, threads * CACHE);
    // Of the tiles, so that many threads have enough to do.
    const int64_t shares = parts(4 * threads, POINTS * panels());
    const OwnValues<T> of_x(some, from), of_y(some, to);
#pragma omp parallel num_threads(threads)
    {
      const Room<T> memory(of_filter());
      for (int64_t first = 0; first < count; first += some) {
        const int64_t number = std::min(some, count - first);
#pragma omp for
        for (int64_t row = 0; row < number; ++row) {
          read_tile<T, FromInput>(x, images, from, first + row, of_x.values, row);
        }
#pragma omp for
        for (int64_t unit = 0; unit < POINTS * panels() * shares; ++unit) {
          const int64_t point = unit / shares / panels(), panel = unit / shares % panels(), share = unit % shares;
          multiply_rows(of_x.values, of_y.values, point, panel, filter(point, panel, memory.memory),
                        share * number / shares, (share + 1) * number / shares);
        }
#pragma omp for nowait
        for (int64_t row = 0; row < number; ++row) write_tile(of_y.values, row, y, images, to, first + row);
      }
    }
  }

  // Of each thread by itself, some tiles at all points: no value goes from one to another, but each reads all filters.
  void by_tiles() const {
    const int64_t count = images.tiles(), share = parts(count, threads);
    const int64_t some = at_once<T>(share, from + to, FEWEST, OWN_CACHE), blocks = parts(share, some) * threads;
    const Room<T> memory(back ? 0 : POINTS * panels() * of_filter());
#pragma omp parallel num_threads(threads)
    {
      const OwnValues<T> of_x(some, from), of_y(some, to);
#pragma omp for
      for (int64_t unit = 0; unit < (back ? 0 : POINTS * panels()); ++unit) {
        filter(unit / panels(), unit % panels(), memory.memory + unit * of_filter());
      }
#pragma omp for
      for (int64_t block = 0; block < blocks; ++block) {
        const int64_t first = block * count / blocks, number = (block + 1) * count / blocks - first;
        for (int64_t row = 0; row < number; ++row) {
          read_tile<T, FromInput>(x, images, from, first + row, of_x.values, row);
        }
        for (int64_t unit = 0; unit < POINTS * panels(); ++unit) {
          const int64_t point = unit / panels(), panel = unit % panels();
          const T* of_panel = back ? filter(point, panel, nullptr) : memory.memory + unit * of_filter();
          multiply_rows(of_x.values, of_y.values, point, panel, of_panel, 0, number);
        }
        for (int64_t row = 0; row < number; ++row) write_tile(of_y.values, row, y, images, to, first + row);
      }
    }
  }

  void multiply_rows(Values<T> of_x, Values<T> of_y, int64_t point, int64_t panel, const T* filter, int64_t begin,
                     int64_t end) const {
    for_blocks(begin, end, [&](int64_t top, int64_t rows) {
      product_of<ROWS, false>(rows, of_x.at(point, 0, top), of_x.panel_apart, filter, of_y.at(point, panel, top),
                              PANEL, from, false);
    });
  }
};

// x [images, height, width, from] to y [images, height, width, to].
template <typename T>
void convolution(const T* x, T* filters, T* y, Images images, int64_t from, int64_t to, bool back, int64_t threads) {
  const Values<T> of_filters = back ? by_point(filters, from, to) : by_point(filters, to, from);
  const Convolution<T> all{x, y, images, from, to, of_filters, back, threads};
  const bool small = POINTS * of_filters.apart * int64_t(sizeof(T)) <= CACHE;
  return small && images.tiles() >= threads * FEWEST ? all.by_tiles() : all.by_points();
}

// filters [rows, 3, 3, columns] to their values.
template <typename T>
void values_of_filters(const T* filters, T* memory, int64_t rows, int64_t columns, int64_t threads) {
  const Values<T> values = by_point(memory, rows, columns);
#pragma omp parallel for num_threads(threads)
  for (int64_t unit = 0; unit < parts(columns, PANEL) * rows; ++unit) {
    const int64_t panel = unit / rows, row = unit % rows;
    for (int64_t j = 0; j < PANEL; j += Vector<T>::size) {
      const int64_t column = panel * PANEL + j;
      typename Vector<T>::type taps[9], out[POINTS];
      for (int k = 0; k < 9; ++k) taps[k] = load_some(filters + (row * 9 + k) * columns + column, columns - column);
      both_sides<Straight<FromFilter>, T>(out, taps);
      for (int k = 0; k < POINTS; ++k) store(values.at(k, panel, row) + j, out[k]);
    }
  }
}

// Values of a panel of channels, in the panel's place of a filter [3, 3, channels].
template <typename T>
inline void write_taps(const T* values, int64_t apart, T* filter, int64_t channels, int64_t panel) {
  for (int64_t j = 0; j < PANEL; j += Vector<T>::size) {
    const int64_t channel = panel * PANEL + j;
    typename Vector<T>::type in[POINTS], taps[9];
    for (int k = 0; k < POINTS; ++k) in[k] = load(values + k * apart + j);
    both_sides<Turned<FromFilter>, T>(taps, in);
    for (int k = 0; k < 9; ++k) store_some(filter + k * channels + channel, taps[k], channels - channel);
  }
}

// Of the filters, in three ways, of which gradients_of_filters chooses one.
template <typename T>
struct Gradients {
  const T* outputs;  // [images, height, width, to]
  const T* inputs;   // [images, height, width, from]
  T* filters;        // [to, 3, 3, from]
  Images images;
  int64_t to, from;
  int64_t threads;

  int64_t panels() const { return parts(from, PANEL); }
  int64_t products() const { return POINTS * panels() * parts(to, PANEL); }

  // Of all threads, each of which multiplies all tiles at some points.
  void by_points() const {
    const int64_t count = images.tiles(), some = at_once<T>(count, from + to, 128, threads * CACHE);
    const OwnValues<T> of_outputs(some, to), of_inputs(some, from), sums(to, from);
#pragma omp parallel num_threads(threads)
    {
      for (int64_t first = 0; first < count; first += some) {
        const int64_t number = std::min(some, count - first);
#pragma omp for nowait
        for (int64_t row = 0; row < number; ++row) {
          read_tile<T, FromOutput>(outputs, images, to, first + row, of_outputs.values, row);
        }
#pragma omp for
        for (int64_t row = 0; row < number; ++row) {
          read_tile<T, FromInput>(inputs, images, from, first + row, of_inputs.values, row);
        }
#pragma omp for
        for (int64_t unit = 0; unit < products(); ++unit) {
          multiply_panels(unit, number, of_outputs.values, of_inputs.values, sums.values, first > 0);
        }
      }
#pragma omp for
      for (int64_t unit = 0; unit < panels() * to; ++unit) write_filter(sums.values, unit % to, unit / to);
    }
  }

  // Of all threads, each of which multiplies all tiles at all points for some filters. Panels first, since what is
  // multiplied with each other is one stretch of memory then.
  void by_filters() const {
    const int64_t count = images.tiles(), apart = (count + 1) * PANEL;
    const Room<T> all_outputs(parts(to, PANEL) * POINTS * apart), all_inputs(panels() * POINTS * apart);
    const Values<T> of_outputs{all_outputs.memory, apart, POINTS * apart};
    const Values<T> of_inputs{all_inputs.memory, apart, POINTS * apart};
#pragma omp parallel num_threads(threads)
    {
      const OwnValues<T> sums(PANEL, PANEL);
#pragma omp for nowait
      for (int64_t row = 0; row < count; ++row) {
        read_tile<T, FromOutput>(outputs, images, to, row, of_outputs, row);
      }
#pragma omp for
      for (int64_t row = 0; row < count; ++row) {
        read_tile<T, FromInput>(inputs, images, from, row, of_inputs, row);
      }
#pragma omp for
      for (int64_t unit = 0; unit < parts(to, PANEL) * panels(); ++unit) {
        const int64_t rows_panel = unit / panels(), panel = unit % panels(), begin = rows_panel * PANEL;
        const int64_t rows = std::min<int64_t>(PANEL, to - begin);
        for (int point = 0; point < POINTS; ++point) {
          product_of_panels(rows, of_outputs.at(point, rows_panel, 0), of_inputs.at(point, panel, 0),
                            sums.values.at(point, 0, 0), PANEL, count, false);
        }
        for (int64_t row = 0; row < rows; ++row) {
          write_taps(sums.values.at(0, 0, row), sums.values.apart, filters + (begin + row) * 9 * from, from, panel);
        }
      }
    }
  }

  // Of each thread by itself, some tiles at all points, which are added up at last.
  void by_tiles() const {
    const int64_t count = images.tiles(), some = at_once<T>(parts(count, threads), from + to, FEWEST, OWN_CACHE);
    const int64_t size = POINTS * distance(to, from);
    const Room<T> memory(threads * size);
#pragma omp parallel num_threads(threads)
    {
      const OwnValues<T> of_outputs(some, to), of_inputs(some, from);
#pragma omp for
      for (int64_t thread = 0; thread < threads; ++thread) {
        const Values<T> sums = by_point(memory.memory + thread * size, to, from);
        const int64_t begin = thread * count / threads, end = (thread + 1) * count / threads;
        for (int64_t first = begin; first < end; first += some) {
          const int64_t number = std::min(some, end - first);
          for (int64_t row = 0; row < number; ++row) {
            read_tile<T, FromOutput>(outputs, images, to, first + row, of_outputs.values, row);
            read_tile<T, FromInput>(inputs, images, from, first + row, of_inputs.values, row);
          }
          for (int64_t unit = 0; unit < products(); ++unit) {
            multiply_panels(unit, number, of_outputs.values, of_inputs.values, sums, first > begin);
          }
        }
      }
#pragma omp for
      for (int64_t place = 0; place < size; place += PANEL) {
        T* sum = memory.memory + place;
        for (int64_t thread = 1; thread < threads; ++thread) {
          for (int k = 0; k < PANEL; ++k) sum[k] += sum[thread * size + k];
        }
      }
      const Values<T> sums = by_point(memory.memory, to, from);
#pragma omp for
      for (int64_t unit = 0; unit < panels() * to; ++unit) write_filter(sums, unit % to, unit / to);
    }
  }

  // A panel of outputs' channels and one of inputs' channels, at a point.
  void multiply_panels(int64_t unit, int64_t number, Values<T> of_outputs, Values<T> of_inputs, Values<T> sums,
                       bool adds) const {
    const int64_t rows_panel = unit % parts(to, PANEL), panel = unit / parts(to, PANEL) % panels();
    const int64_t point = unit / parts(to, PANEL) / panels(), begin = rows_panel * PANEL;
    product_of_panels(std::min<int64_t>(PANEL, to - begin), of_outputs.at(point, rows_panel, 0),
                      of_inputs.at(point, panel, 0), sums.at(point, panel, begin), PANEL, number, adds);
  }

  void write_filter(Values<T> sums, int64_t row, int64_t panel) const {
    write_taps(sums.at(0, panel, row), sums.apart, filters + row * 9 * from, from, panel);
  }
};

// outputs [images, height, width, to] and inputs [images, height, width, from] to the gradients of the filters
// [to, 3, 3, from] of which the inputs give something whose gradient is the outputs.
template <typename T>
void gradients_of_filters(const T* outputs, const T* inputs, T* filters, Images images, int64_t to, int64_t from,
                          int64_t threads) {
  const Gradients<T> all{outputs, inputs, filters, images, to, from, threads};
  const bool small = POINTS * distance(to, from) * int64_t(sizeof(T)) <= OWN_CACHE;
  if (small && images.tiles() >= threads * FEWEST) return all.by_tiles();
  // Two panels' values take half of the cache.
  const bool few = 2 * POINTS * PANEL * images.tiles() * int64_t(sizeof(T)) <= OWN_CACHE / 2;
  return few ? all.by_filters() : all.by_points();
}

}  // namespace

#define EXPORTED(T)                                                                                                    \
  extern "C" void values_of_filters_##T(const T* filters, T* values, int64_t rows, int64_t columns, int64_t threads) { \
    values_of_filters<T>(filters, values, rows, columns, threads);                                                     \
  }                                                                                                                    \
  extern "C" void convolution_##T(const T* x, T* values, T* y, int64_t images, int64_t height, int64_t width,          \
                                  int64_t from, int64_t to, int64_t back, int64_t threads) {                           \
    convolution<T>(x, values, y, {images, height, width}, from, to, back, threads);                                    \
  }                                                                                                                    \
  extern "C" void gradients_of_filters_##T(const T* outputs, const T* inputs, T* filters, int64_t images,              \
                                           int64_t height, int64_t width, int64_t to, int64_t from, int64_t threads) { \
    gradients_of_filters<T>(outputs, inputs, filters, {images, height, width}, to, from, threads);                     \
  }

EXPORTED(float)
EXPORTED(double)
