// Gradients of filters: for each of their taps a product of the channels of two maps, summed over all pixels of all
// images. Channels last, multiples of a panel's. What comes before this is panels.h.

namespace {

constexpr int64_t PACKED = 1 << 18;  // bytes of the map with fewer channels that are read again and again
constexpr int64_t AHEAD_PACKED = 16;  // pixels, from the one that is packed to one that is brought into the cache

// Every `stride`th pixel of every `stride`th row of maps of channels, from the one at the top left on, which may lie in
// the padding.
template <typename T>
struct Map {
  const T* memory;
  int64_t channels, height, width, stride, top, left;
  Map from(int64_t row, int64_t column) const {
    return {memory, channels, height, width, stride, top + row, left + column};
  }
};

struct Pixels {
  int64_t images, height, width;
  int64_t count() const { return images * height * width; }
};

// A panel of the channels of `number` pixels from the first on: to [number, PANEL].
template <typename T>
void pack(Map<T> map, Pixels pixels, int64_t panel, int64_t first, int64_t number, T* to) {
  for (int64_t pixel = first; pixel < first + number; ++pixel, to += PANEL) {
    const int64_t column = pixel % pixels.width * map.stride + map.left;
    const int64_t row = pixel / pixels.width % pixels.height * map.stride + map.top;
    if (row < 0 || row >= map.height || column < 0 || column >= map.width) {
      std::fill(to, to + PANEL, T(0));
      continue;
    }
    const int64_t image = pixel / pixels.width / pixels.height;
    const T* from = map.memory + ((image * map.height + row) * map.width + column) * map.channels + panel * PANEL;
    const T* later = from + AHEAD_PACKED * map.stride * map.channels;
    for (int k = 0; k < PANEL; k += Vector<T>::size) __builtin_prefetch(later + k);
    for (int k = 0; k < PANEL; k += Vector<T>::size) store(to + k, load(from + k));
  }
}

struct Filters {
  int64_t height, width;
  int64_t taps() const { return height * width; }
};

// gradients [channels of outputs, height, width, channels of inputs]. The map with fewer channels is packed for all
// threads, some pixels at a time; of the other one each thread packs a panel, which it multiplies by all of the former.
template <typename T>
void filter_gradients(Map<T> outputs, Map<T> inputs, T* gradients, Filters filters, Pixels pixels, int64_t threads) {
  const bool few_outputs = outputs.channels <= inputs.channels;
  const Map<T> few = few_outputs ? outputs : inputs, many = few_outputs ? inputs : outputs;
  const int64_t of_few = few.channels / PANEL, of_many = many.channels / PANEL, count = pixels.count();
  const int64_t most = std::max<int64_t>(128, PACKED / (few.channels * sizeof(T)));
  const int64_t some = parts(count, parts(count, most)), apart = filters.taps() * inputs.channels;
  const int64_t shares = std::min(of_few, parts(4 * threads, of_many));  // so that many threads have enough to do
  const Room<T> packed(few.channels * some);
#pragma omp parallel num_threads(threads)
  {
    const Room<T> own(PANEL * some);
    for (int64_t first = 0; first < count; first += some) {
      const int64_t number = std::min(some, count - first);
      for (int64_t tap = 0; tap < filters.taps(); ++tap) {
        const auto at_tap = [&](Map<T> map) { return map.from(tap / filters.width, tap % filters.width); };
        if (tap == 0 || !few_outputs) {
#pragma omp for
          for (int64_t panel = 0; panel < of_few; ++panel) {
            T* to = packed.memory + panel * some * PANEL;
            pack(few_outputs ? few : at_tap(few), pixels, panel, first, number, to);
          }
        }
#pragma omp for
        for (int64_t unit = 0; unit < of_many * shares; ++unit) {
          const int64_t panel = unit / shares, share = unit % shares;
          pack(few_outputs ? at_tap(many) : many, pixels, panel, first, number, own.memory);
          for (int64_t other = share * of_few / shares; other < (share + 1) * of_few / shares; ++other) {
            const T* rest = packed.memory + other * some * PANEL;
            const T* a = few_outputs ? rest : own.memory;
            const T* b = few_outputs ? own.memory : rest;
            const int64_t row = (few_outputs ? other : panel) * PANEL, column = (few_outputs ? panel : other) * PANEL;
            T* c = gradients + row * apart + tap * inputs.channels + column;
            product_of_panels(PANEL, a, b, c, apart, number, first > 0);
          }
        }
      }
    }
  }
}

}  // namespace

#define EXPORTED(T)                                                                                                    \
  extern "C" void filter_gradients_##T(const T* outputs, const T* inputs, T* gradients, int64_t images,                \
                                       int64_t height, int64_t width, int64_t to, int64_t from, int64_t inputs_height, \
                                       int64_t inputs_width, int64_t filter_height, int64_t filter_width,              \
                                       int64_t stride, int64_t padding, int64_t threads) {                             \
    filter_gradients<T>({outputs, to, height, width, 1, 0, 0},                                                         \
                        {inputs, from, inputs_height, inputs_width, stride, -padding, -padding}, gradients,            \
                        {filter_height, filter_width}, {images, height, width}, threads);                              \
  }

EXPORTED(float)
EXPORTED(double)
