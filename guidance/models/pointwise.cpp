// Gradients of 1x1 filters: products of the channels of two maps, summed over all pixels of all images.
// Channels last, multiples of a panel's. What comes before this is panels.h.

namespace {

constexpr int64_t PACKED = 1 << 19;  // bytes of the map with fewer channels that are read again and again
constexpr int64_t AHEAD_PACKED = 16;  // pixels, from the one that is packed to one that is brought into the cache

// Every `stride`th pixel of every `stride`th row of maps of channels.
template <typename T>
struct Map {
  const T* memory;
  int64_t channels, height, width, stride;
};

struct Pixels {
  int64_t images, height, width;
  int64_t count() const { return images * height * width; }
};

// A panel of the channels of `number` pixels from the first on: to [number, PANEL].
template <typename T>
void pack(Map<T> map, Pixels pixels, int64_t panel, int64_t first, int64_t number, T* to) {
  for (int64_t pixel = first; pixel < first + number; ++pixel, to += PANEL) {
    const int64_t column = pixel % pixels.width, row = pixel / pixels.width % pixels.height;
    const int64_t image = pixel / pixels.width / pixels.height;
    const int64_t place = (image * map.height + row * map.stride) * map.width + column * map.stride;
    const T* from = map.memory + place * map.channels + panel * PANEL;
    const T* later = from + AHEAD_PACKED * map.stride * map.channels;
    for (int k = 0; k < PANEL; k += Vector<T>::size) __builtin_prefetch(later + k);
    for (int k = 0; k < PANEL; k += Vector<T>::size) store(to + k, load(from + k));
  }
}

// filters [channels of outputs, channels of inputs]. The map with fewer channels is packed for all threads, some
// pixels at a time; of the other one each thread packs a panel, which it multiplies by all of the former.
template <typename T>
void gradients(Map<T> outputs, Map<T> inputs, T* filters, Pixels pixels, int64_t threads) {
  const bool few_outputs = outputs.channels <= inputs.channels;
  const Map<T> few = few_outputs ? outputs : inputs, many = few_outputs ? inputs : outputs;
  const int64_t of_few = few.channels / PANEL, of_many = many.channels / PANEL, count = pixels.count();
  const int64_t most = std::max<int64_t>(128, PACKED / (few.channels * sizeof(T)));
  const int64_t some = parts(count, parts(count, most));
  const int64_t shares = std::min(of_few, parts(4 * threads, of_many));  // so that many threads have enough to do
  const Room<T> packed(few.channels * some);
#pragma omp parallel num_threads(threads)
  {
    const Room<T> own(PANEL * some);
    for (int64_t first = 0; first < count; first += some) {
      const int64_t number = std::min(some, count - first);
#pragma omp for
      for (int64_t panel = 0; panel < of_few; ++panel) {
        pack(few, pixels, panel, first, number, packed.memory + panel * some * PANEL);
      }
#pragma omp for
      for (int64_t unit = 0; unit < of_many * shares; ++unit) {
        const int64_t panel = unit / shares, share = unit % shares;
        pack(many, pixels, panel, first, number, own.memory);
        for (int64_t other = share * of_few / shares; other < (share + 1) * of_few / shares; ++other) {
          const T* rest = packed.memory + other * some * PANEL;
          const T* a = few_outputs ? rest : own.memory;
          const T* b = few_outputs ? own.memory : rest;
          T* c = filters + ((few_outputs ? other : panel) * inputs.channels + (few_outputs ? panel : other)) * PANEL;
          for_blocks(0, PANEL, [&](int64_t top, int64_t rows) {
            product_of<ROWS, true>(rows, a + top, PANEL * PANEL, b, c + top * inputs.channels, inputs.channels, number,
                                   first > 0);
          });
        }
      }
    }
  }
}

}  // namespace

#define EXPORTED(T)                                                                                                    \
  extern "C" void pointwise_gradients_##T(const T* outputs, const T* inputs, T* filters, int64_t images,               \
                                          int64_t height, int64_t width, int64_t to, int64_t from,                     \
                                          int64_t inputs_height, int64_t inputs_width, int64_t stride,                 \
                                          int64_t threads) {                                                           \
    gradients<T>({outputs, to, height, width, 1}, {inputs, from, inputs_height, inputs_width, stride}, filters,        \
                 {images, height, width}, threads);                                                                    \
  }

EXPORTED(float)
EXPORTED(double)
