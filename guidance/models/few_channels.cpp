// Convolutions of images with few channels, as first layers are: the transposed one, and the gradients of the filters.
// A row of a patch is one stretch of a row of the image. Channels last. What comes before this is panels.h.

namespace {

constexpr int64_t BAND = 16;  // rows of an output whose products are added up before others are

// From [images, height, width, channels] to [images, rows, columns, outputs].
struct Geometry {
  int64_t images, height, width, channels, rows, columns, outputs, filter_height, filter_width;
  int64_t stride, stride_right, padding, padding_right;  // down, if nothing else is said
  int64_t patch_row() const { return filter_width * channels; }
  int64_t patch() const { return filter_height * patch_row(); }
  int64_t step() const { return stride_right * channels; }
  int64_t margin() const { return padding_right * channels; }
  // Of a row of an image with its padding, and of what vectors may read beyond it.
  int64_t length() const {
    return std::max(margin() + width * channels, (columns - 1) * step() + patch_row()) + PANEL;
  }
};

// A row of an output [columns, outputs] to [panels of outputs, columns, PANEL].
template <typename T>
void pack(const T* from, int64_t columns, int64_t outputs, T* to) {
  for (int64_t column = 0; column < columns; ++column) {
    for (int64_t k = 0; k < outputs; k += Vector<T>::size) {
      store(to + (k / PANEL * columns + column) * PANEL + k % PANEL, load(from + column * outputs + k));
    }
  }
}

// Adds numbers, the `last` lanes of a vector at the end. What follows them is read too, and stays.
template <typename T>
void add(const T* from, T* to, int64_t number, typename Vector<T>::lanes last) {
  typedef typename Vector<T>::type V;
  constexpr int size = Vector<T>::size;
  for (int64_t k = 0; k < number; k += size) {
    const V part = load(from + k), some = V(typename Vector<T>::lanes(part) & last);
    store(to + k, load(to + k) + (k + size <= number ? part : some));
  }
}

// x [images, rows, columns, outputs] to y [images, height, width, channels]. Each thread computes rows of y, and all
// that reaches them.
template <typename T>
void transposed(const T* x, const T* filters, T* y, Geometry g, int64_t threads) {
  const int64_t patch = g.patch(), panels = parts(patch, PANEL), row_length = g.length();
  // As few as threads need: what reaches several bands is computed for each.
  const int64_t bands = g.images % threads ? std::min(g.height, parts(4 * threads, g.images)) : 1;
  const Room<T> packed(panels * g.outputs * PANEL);
  typename Vector<T>::lanes last;
  for (int k = 0; k < Vector<T>::size; ++k) last[k] = k < g.patch_row() % Vector<T>::size ? -1 : 0;
#pragma omp parallel num_threads(threads)
  {
    const Room<T> of_x(g.columns * g.outputs), rows(g.filter_height * row_length);
    const Room<T> products(ROWS * panels * PANEL + PANEL);
#pragma omp for
    for (int64_t unit = 0; unit < panels * g.outputs; ++unit) {
      const int64_t first = unit / g.outputs * PANEL;
      for (int64_t k = 0; k < PANEL; ++k) {
        packed.memory[unit * PANEL + k] = first + k < patch ? filters[unit % g.outputs * patch + first + k] : T(0);
      }
    }
#pragma omp for
    for (int64_t band = 0; band < g.images * bands; ++band) {
      const int64_t image = band / bands, begin = band % bands * g.height / bands;
      const int64_t end = (band % bands + 1) * g.height / bands;
      std::fill(rows.memory, rows.memory + g.filter_height * row_length, T(0));
      int64_t next = begin;
      const auto write_until = [&](int64_t bottom) {
        for (; next < std::min(bottom, end); ++next) {
          T* from = rows.memory + next % g.filter_height * row_length;
          std::memcpy(y + (image * g.height + next) * g.width * g.channels, from + g.margin(),
                      g.width * g.channels * sizeof(T));
          std::fill(from, from + row_length, T(0));
        }
      };
      const int64_t first_row = std::max<int64_t>(0, parts(begin + g.padding - g.filter_height + 1, g.stride));
      const int64_t last_row = std::min(g.rows, (end - 1 + g.padding) / g.stride + 1);
      for (int64_t row = first_row; row < last_row; ++row) {
        const int64_t top = row * g.stride - g.padding;
        write_until(top);
        const int64_t first = std::max<int64_t>(0, begin - top), last_tap = std::min(g.filter_height, end - top);
        const int64_t place = (top % g.filter_height + g.filter_height) % g.filter_height;
        pack(x + (image * g.rows + row) * g.columns * g.outputs, g.columns, g.outputs, of_x.memory);
        for_blocks(0, g.columns, [&](int64_t column, int64_t number) {
          for (int64_t panel = 0; panel < panels; ++panel) {
            product_of<ROWS, false>(number, of_x.memory + column * PANEL, g.columns * PANEL,
                                    packed.memory + panel * g.outputs * PANEL, products.memory + panel * PANEL,
                                    panels * PANEL, g.outputs, false);
          }
          // Patches overlap: those of one position first, which do not, so that none waits for the one before.
          for (int64_t i = 0; i < number; ++i) {
            const T* from = products.memory + i * panels * PANEL;
            T* to = rows.memory + (column + i) * g.step();
            for (int64_t k = first; k < last_tap; ++k) {
              const int64_t turn = place + k < g.filter_height ? place + k : place + k - g.filter_height;
              add(from + k * g.patch_row(), to + turn * row_length, g.patch_row(), last);
            }
          }
        });
      }
      write_until(end);
    }
  }
}

// outputs [images, rows, columns, outputs] and inputs [images, height, width, channels] to the gradients of filters
// [outputs, filter_height, filter_width, channels] of which the inputs give something whose gradient is the outputs.
template <typename T>
void gradients(const T* outputs, const T* inputs, T* filters, Geometry g, int64_t threads) {
  const int64_t patch = g.patch(), row_length = g.length(), bands = parts(g.rows, BAND);
  const Room<T> memory(threads * patch * g.outputs);
#pragma omp parallel num_threads(threads)
  {
    const Room<T> of_outputs(g.columns * g.outputs), rows(g.filter_height * row_length), sums(patch * g.outputs);
    std::fill(rows.memory, rows.memory + g.filter_height * row_length, T(0));
#pragma omp for
    for (int64_t thread = 0; thread < threads; ++thread) {
      T* total = memory.memory + thread * patch * g.outputs;
      std::fill(total, total + patch * g.outputs, T(0));
      const int64_t last_band = (thread + 1) * g.images * bands / threads;
      for (int64_t band = thread * g.images * bands / threads; band < last_band; ++band) {
        const int64_t image = band / bands, begin = band % bands * g.rows / bands;
        const int64_t end = (band % bands + 1) * g.rows / bands;
        for (int64_t row = begin; row < end; ++row) {
          pack(outputs + (image * g.rows + row) * g.columns * g.outputs, g.columns, g.outputs, of_outputs.memory);
          for (int64_t k = 0; k < g.filter_height; ++k) {
            const int64_t from = row * g.stride - g.padding + k;
            T* to = rows.memory + k * row_length;
            if (from >= 0 && from < g.height) {
              std::memcpy(to + g.margin(), inputs + (image * g.height + from) * g.width * g.channels,
                          g.width * g.channels * sizeof(T));
            } else {
              std::fill(to, to + row_length, T(0));
            }
            for (int64_t panel = 0; panel < g.outputs / PANEL; ++panel) {
              const T* of_panel = of_outputs.memory + panel * g.columns * PANEL;
              for_blocks(0, g.patch_row(), [&](int64_t top, int64_t number) {
                product_of<ROWS, true>(number, to + top, PANEL * g.step(), of_panel,
                                       sums.memory + (k * g.patch_row() + top) * g.outputs + panel * PANEL, g.outputs,
                                       g.columns, row > begin);
              });
            }
          }
        }
        for (int64_t k = 0; k < patch * g.outputs; ++k) total[k] += sums.memory[k];
      }
    }
#pragma omp for
    for (int64_t unit = 0; unit < g.outputs * patch; ++unit) {
      const int64_t output = unit / patch, place = unit % patch;
      T sum = 0;
      for (int64_t thread = 0; thread < threads; ++thread) {
        sum += memory.memory[(thread * patch + place) * g.outputs + output];
      }
      filters[unit] = sum;
    }
  }
}

}  // namespace

#define EXPORTED(T)                                                                                                    \
  extern "C" void few_channels_transposed_##T(const T* x, const T* filters, T* y, int64_t images, int64_t height,      \
                                              int64_t width, int64_t channels, int64_t rows, int64_t columns,          \
                                              int64_t outputs, int64_t filter_height, int64_t filter_width,            \
                                              int64_t stride, int64_t stride_right, int64_t padding,                   \
                                              int64_t padding_right, int64_t threads) {                                \
    transposed<T>(x, filters, y,                                                                                       \
                  {images, height, width, channels, rows, columns, outputs, filter_height, filter_width, stride,       \
                   stride_right, padding, padding_right},                                                              \
                  threads);                                                                                            \
  }                                                                                                                    \
  extern "C" void few_channels_gradients_##T(const T* outputs, const T* inputs, T* filters, int64_t images,            \
                                             int64_t height, int64_t width, int64_t channels, int64_t rows,            \
                                             int64_t columns, int64_t output_channels, int64_t filter_height,          \
                                             int64_t filter_width, int64_t stride, int64_t stride_right,               \
                                             int64_t padding, int64_t padding_right, int64_t threads) {                \
    gradients<T>(outputs, inputs, filters,                                                                             \
                 {images, height, width, channels, rows, columns, output_channels, filter_height, filter_width,        \
                  stride, stride_right, padding, padding_right},                                                       \
                 threads);                                                                                             \
  }

EXPORTED(float)
EXPORTED(double)
