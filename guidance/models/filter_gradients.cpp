// Gradients of filters: for each of their taps a product of the channels of two maps, summed over all pixels of all
// images. Channels last, multiples of a panel's. What comes before this is panels.h.

namespace {

// Bytes of the map with fewer channels that are read again and again: half of the second cache.
#if defined(__AVX512F__)
constexpr int64_t PACKED = 1 << 19;
#else
constexpr int64_t PACKED = 1 << 18;
#endif
constexpr int64_t FEWEST = 128, MOST = 512;  // pixels at a time: what is packed of the other map stays there, too
constexpr int64_t AHEAD_PACKED = 16;  // pixels, from the one that is packed to one that is brought into the cache
constexpr int64_t NOWHERE = -1;

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

// Where the channels of `number` pixels from the first on begin in a map, or that they lie in its padding.
template <typename T>
void find(Map<T> map, Pixels pixels, int64_t first, int64_t number, int64_t* places) {
  int64_t x = first % pixels.width, y = first / pixels.width % pixels.height;
  int64_t image = first / pixels.width / pixels.height;
  for (int64_t k = 0; k < number; ++k) {
    const int64_t column = x * map.stride + map.left, row = y * map.stride + map.top;
    const bool inside = row >= 0 && row < map.height && column >= 0 && column < map.width;
    places[k] = inside ? ((image * map.height + row) * map.width + column) * map.channels : NOWHERE;
    if (++x < pixels.width) continue;
    x = 0;
    if (++y < pixels.height) continue;
    y = 0;
    ++image;
  }
}

// Brings a panel's numbers into the cache.
template <typename T>
inline void prefetch(const T* numbers) {
  for (int j = 0; j < PANEL; j += 64 / sizeof(T)) __builtin_prefetch(numbers + j);
}

// A panel of the channels of pixels: to [number, PANEL].
template <typename T>
void pack(const T* channels, const int64_t* places, int64_t number, T* to) {
  for (int64_t k = 0; k < number; ++k, to += PANEL) {
    if (places[k] == NOWHERE) {
      std::fill(to, to + PANEL, T(0));
      continue;
    }
    prefetch(channels + std::max<int64_t>(0, places[std::min(k + AHEAD_PACKED, number - 1)]));
    for (int j = 0; j < PANEL; j += Vector<T>::size) store(to + j, load(channels + places[k] + j));
  }
}

// Brings a panel's channels of pixels into the cache, some at each call, so that they are there when they are packed.
template <typename T>
class Prefetch {
 public:
  Prefetch(const T* channels, const int64_t* places, int64_t number, int64_t calls)
      : channels(channels), places(places), number(number), calls(calls) {}
  void some() {
    for (const int64_t until = ++made * number / calls; next < until; ++next) {
      if (places[next] != NOWHERE) prefetch(channels + places[next]);
    }
  }

 private:
  const T* channels;
  const int64_t* places;
  int64_t number, calls, made = 0, next = 0;
};

// Adds [PANEL, PANEL] to numbers of which rows are `apart`, or puts it there.
template <typename T>
void add_square(const T* square, T* to, int64_t apart, bool adds) {
  for (int i = 0; i < PANEL; ++i) {
    for (int j = 0; j < PANEL; j += Vector<T>::size) {
      const typename Vector<T>::type sum = load(square + i * PANEL + j);
      store(to + i * apart + j, adds ? load(to + i * apart + j) + sum : sum);
    }
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
  const int64_t most = std::clamp<int64_t>(PACKED / (few.channels * sizeof(T)), FEWEST, MOST);
  const int64_t some = parts(count, parts(count, most)), apart = filters.taps() * inputs.channels;
  const int64_t shares = std::min(of_few, parts(4 * threads, of_many));  // so that many threads have enough to do
  const Room<T> packed(few.channels * some);
#pragma omp parallel num_threads(threads)
  {
    const Room<T> own(PANEL * some), square(PANEL * PANEL);
    const Room<int64_t> of_packed(some), of_own(some);
    for (int64_t first = 0; first < count; first += some) {
      const int64_t number = std::min(some, count - first);
      for (int64_t tap = 0; tap < filters.taps(); ++tap) {
        const auto at_tap = [&](Map<T> map) { return map.from(tap / filters.width, tap % filters.width); };
        if (tap == 0 || !few_outputs) {
          find(few_outputs ? few : at_tap(few), pixels, first, number, of_packed.memory);
#pragma omp for
          for (int64_t panel = 0; panel < of_few; ++panel) {
            pack(few.memory + panel * PANEL, of_packed.memory, number, packed.memory + panel * some * PANEL);
          }
        }
        if (tap == 0 || few_outputs) find(few_outputs ? at_tap(many) : many, pixels, first, number, of_own.memory);
#pragma omp for
        for (int64_t unit = 0; unit < of_many * shares; ++unit) {
          const int64_t panel = unit / shares, share = unit % shares;
          const int64_t begin = share * of_few / shares, end = (share + 1) * of_few / shares;
          pack(many.memory + panel * PANEL, of_own.memory, number, own.memory);
          const bool last = share < shares - 1 || panel == of_many - 1;  // nothing else is packed next
          Prefetch<T> next(many.memory + (panel + 1) * PANEL, of_own.memory, last ? 0 : number,
                           (end - begin) * blocks_of_panels(PANEL, number));
          for (int64_t other = begin; other < end; ++other) {
            const T* rest = packed.memory + other * some * PANEL;
            const int64_t row = (few_outputs ? other : panel) * PANEL, column = (few_outputs ? panel : other) * PANEL;
            T* to = gradients + row * apart + tap * inputs.channels + column;
            for (int64_t k = 0; first > 0 && k < PANEL; ++k) prefetch(to + k * apart);
            // By itself: rows of the gradients are far apart, and would share few lines of the first cache.
            product_of_panels(PANEL, few_outputs ? rest : own.memory, few_outputs ? own.memory : rest, square.memory,
                              PANEL, number, false, [&] { next.some(); });
            add_square(square.memory, to, apart, first > 0);
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
