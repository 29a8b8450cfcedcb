// Sums over all positions of maps whose channels are last in memory: some channels at some positions in registers,
// then the next channels there, then the next positions. What comes before this is panels.h.

#include <type_traits>

namespace {

constexpr int64_t SOME = 32;  // positions that are summed in the maps' own type; sums of so many are added in double
constexpr int TOGETHER = 4;   // vectors of channels

// Calls a function of the first channel, and of how many vectors of channels from there on are taken together. Of a
// single one there may be fewer channels.
template <typename T, typename Function>
void for_channels(int64_t channels, Function function) {
  constexpr int size = Vector<T>::size;
  int64_t c = 0;
  for (; c + TOGETHER * size <= channels; c += TOGETHER * size) function(c, std::integral_constant<int, TOGETHER>{});
  for (; c < channels; c += size) function(c, std::integral_constant<int, 1>{});
}

// One of `vectors` vectors of channels at a position; if it is the only one, there may be fewer channels.
template <int vectors, typename T>
typename Vector<T>::type load_channels(const T* from, int vector, int64_t channels) {
  if constexpr (vectors > 1) return load(from + vector * Vector<T>::size);
  return load_some(from, channels);
}

template <typename T>
typename Vector<T>::type absolute(typename Vector<T>::type vector) {
  return vector < 0 ? -vector : vector;
}

// Inverse norms at positions, at most SOME.
template <typename T, bool scaled>
struct Inverses {
  Inverses(const T* norms, int64_t number) {
    if constexpr (scaled) {
      for (int64_t k = 0; k < number; ++k) values[k] = 1 / norms[k];
    }
  }
  // x |outs| / norm, or x
  typename Vector<T>::type times(typename Vector<T>::type x, typename Vector<T>::type outs, int64_t k) const {
    if constexpr (scaled) return x * (absolute<T>(outs) * values[k]);
    return x;
  }
  T values[SOME];
};

// Means and summed squared deviations of all channels, at positions that are added one part after the other
// (Chan, Golub and LeVeque 1983, equation 2.1).
struct Moments {
  int64_t number;
  double *means, *squares;
  template <typename U>
  void add(int64_t first, int64_t channels, int64_t others, const U* their_means, const U* their_squares) {
    const double share = double(others) / (number + others), weight = number * share;
    for (int64_t c = 0; c < channels; ++c) {
      const double step = their_means[c] - means[first + c];
      means[first + c] += step * share;
      squares[first + c] += their_squares[c] + step * step * weight;
    }
  }
};

template <typename T, bool scaled>
void add_positions(Moments& moments, const T* x, const T* norms, int64_t channels, int64_t number) {
  const Inverses<T, scaled> inverses(norms, number);
  for_channels<T>(channels, [&](int64_t first, auto constant) {
    constexpr int vectors = constant, size = Vector<T>::size;
    typename Vector<T>::type sums[vectors] = {}, squares[vectors] = {};
    const auto value = [&](int64_t k, int vector) {
      const auto loaded = load_channels<vectors>(x + k * channels + first, vector, channels - first);
      return inverses.times(loaded, loaded, k);
    };
    for (int64_t k = 0; k < number; ++k) {
#pragma GCC unroll 16
      for (int v = 0; v < vectors; ++v) sums[v] += value(k, v);
    }
    for (auto& sum : sums) sum /= T(number);
    for (int64_t k = 0; k < number; ++k) {
#pragma GCC unroll 16
      for (int v = 0; v < vectors; ++v) {
        const auto deviation = value(k, v) - sums[v];
        squares[v] += deviation * deviation;
      }
    }
    T of_sums[vectors * size], of_squares[vectors * size];
    std::memcpy(of_sums, sums, sizeof(of_sums));
    std::memcpy(of_squares, squares, sizeof(of_squares));
    moments.add(first, std::min<int64_t>(vectors * size, channels - first), number, of_sums, of_squares);
  });
  moments.number += number;
}

template <typename T, bool scaled>
void moments(const T* x, const T* norms, T* variances, T* means, int64_t positions, int64_t channels,
             int64_t threads) {
  const Room<double> room(2 * channels * (threads + 1));
  std::fill(room.memory, room.memory + 2 * channels * (threads + 1), 0.0);
  const auto of_share = [&](int64_t share) {
    double* memory = room.memory + 2 * channels * share;
    return Moments{0, memory, memory + channels};
  };
#pragma omp parallel for num_threads(threads)
  for (int64_t share = 0; share < threads; ++share) {
    const int64_t end = (share + 1) * positions / threads;
    Moments own = of_share(share);
    for (int64_t first = share * positions / threads; first < end; first += SOME) {
      add_positions<T, scaled>(own, x + first * channels, norms + first, channels, std::min(SOME, end - first));
    }
  }
  Moments all = of_share(threads);
  for (int64_t share = 0; share < threads; ++share) {
    const int64_t number = (share + 1) * positions / threads - share * positions / threads;
    if (number == 0) continue;
    const Moments own = of_share(share);
    all.add(0, channels, number, own.means, own.squares);
    all.number += number;
  }
  for (int64_t c = 0; c < channels; ++c) {
    variances[c] = all.squares[c] / positions;
    means[c] = positions > 0 ? all.means[c] : variances[c];  // not a number
  }
}

template <typename T, bool scaled>
void products(const T* x, const T* y, const T* outs, const T* norms, T* sums, int64_t positions, int64_t channels,
              int64_t threads) {
  const Room<double> room(channels * threads);
  std::fill(room.memory, room.memory + channels * threads, 0.0);
#pragma omp parallel for num_threads(threads)
  for (int64_t share = 0; share < threads; ++share) {
    const int64_t end = (share + 1) * positions / threads;
    double* own = room.memory + share * channels;
    for (int64_t begin = share * positions / threads; begin < end; begin += SOME) {
      const int64_t number = std::min(SOME, end - begin);
      const Inverses<T, scaled> inverses(norms + begin, number);
      for_channels<T>(channels, [&](int64_t first, auto constant) {
        constexpr int vectors = constant, size = Vector<T>::size;
        typename Vector<T>::type some[vectors] = {};
        for (int64_t k = 0; k < number; ++k) {
          const int64_t place = (begin + k) * channels + first;
#pragma GCC unroll 16
          for (int v = 0; v < vectors; ++v) {
            const auto load = [&](const T* map) { return load_channels<vectors>(map + place, v, channels - first); };
            some[v] += inverses.times(load(x) * load(y), load(outs), k);
          }
        }
        T of_some[vectors * size];
        std::memcpy(of_some, some, sizeof(of_some));
        for (int64_t c = 0; c < std::min<int64_t>(vectors * size, channels - first); ++c) own[first + c] += of_some[c];
      });
    }
  }
  for (int64_t c = 0; c < channels; ++c) {
    double sum = 0;
    for (int64_t share = 0; share < threads; ++share) sum += room.memory[share * channels + c];
    sums[c] = sum;
  }
}

}  // namespace

#define EXPORTED(T)                                                                                                    \
  extern "C" void moments_##T(const T* x, const T* norms, T* variances, T* means, int64_t positions,                   \
                              int64_t channels, int64_t scaled, int64_t threads) {                                     \
    (scaled ? moments<T, true> : moments<T, false>)(x, norms, variances, means, positions, channels, threads);         \
  }                                                                                                                    \
  extern "C" void products_##T(const T* x, const T* y, const T* outs, const T* norms, T* sums, int64_t positions,      \
                               int64_t channels, int64_t scaled, int64_t threads) {                                    \
    (scaled ? products<T, true> : products<T, false>)(x, y, outs, norms, sums, positions, channels, threads);          \
  }

EXPORTED(float)
EXPORTED(double)
