// The B-cos transform with B = 2 and its gradients, of maps whose channels are last in memory: each position once, and
// nothing in memory but what is asked for. What comes before this is panels.h.

#include <type_traits>

namespace {

// Of the channels of a position, which may be any number: of each vector the place and how many channels are left.
template <typename T, typename Function>
void for_vectors(int64_t channels, Function function) {
  for (int64_t c = 0; c < channels; c += Vector<T>::size) function(c, channels - c);
}

template <typename T>
void transform(const T* outs, const T* norms, T* scaled, T* factors, int64_t positions, int64_t channels,
               int64_t threads) {
#pragma omp parallel for num_threads(threads)
  for (int64_t share = 0; share < threads; ++share) {
    const int64_t end = (share + 1) * positions / threads;
    for (int64_t k = share * positions / threads; k < end; ++k) {
      const T inverse = 1 / norms[k];
      for_vectors<T>(channels, [&](int64_t c, int64_t left) {
        const auto out = load_some(outs + k * channels + c, left);
        const auto factor = (out < 0 ? -out : out) * inverse;
        store_some(factors + k * channels + c, factor, left);
        store_some(scaled + k * channels + c, out * factor, left);
      });
    }
  }
}

// By the gradient of what is scaled, by that of the factor, or by both.
template <typename T, bool scaled, bool factor>
void gradients(const T* of_scaled, const T* of_factors, const T* outs, const T* norms, T* of_outs, T* of_norms,
               int64_t positions, int64_t channels, int64_t threads) {
  typedef typename Vector<T>::type V;
#pragma omp parallel for num_threads(threads)
  for (int64_t share = 0; share < threads; ++share) {
    const int64_t end = (share + 1) * positions / threads;
    for (int64_t k = share * positions / threads; k < end; ++k) {
      const T inverse = 1 / norms[k];
      V sums = {};
      for_vectors<T>(channels, [&](int64_t c, int64_t left) {
        const int64_t place = k * channels + c;
        const V out = load_some(outs + place, left), zero = {};
        const V sign = out < 0 ? zero - inverse : out > 0 ? zero + inverse : zero;
        const V magnitude = out * sign;
        V of_factor = zero, of_out = zero;
        if constexpr (factor) of_factor = load_some(of_factors + place, left);
        if constexpr (scaled) {
          const V gradient = load_some(of_scaled + place, left);
          of_factor += gradient * out;
          of_out = gradient * magnitude;
        }
        store_some(of_outs + place, of_out + sign * of_factor, left);
        sums += of_factor * magnitude;
      });
      T sum = 0;
      for (int lane = 0; lane < Vector<T>::size; ++lane) sum += sums[lane];
      of_norms[k] = -sum * inverse;
    }
  }
}

}  // namespace

#define EXPORTED(T)                                                                                                    \
  extern "C" void bcos_transform_##T(const T* outs, const T* norms, T* scaled, T* factors, int64_t positions,          \
                                     int64_t channels, int64_t threads) {                                              \
    transform(outs, norms, scaled, factors, positions, channels, threads);                                             \
  }                                                                                                                    \
  extern "C" void bcos_transform_gradients_##T(const T* of_scaled, const T* of_factors, const T* outs, const T* norms, \
                                               T* of_outs, T* of_norms, int64_t positions, int64_t channels,           \
                                               int64_t has_scaled, int64_t has_factors, int64_t threads) {             \
    auto chosen = has_scaled ? has_factors ? gradients<T, true, true> : gradients<T, true, false>                      \
                             : gradients<T, false, true>;                                                              \
    chosen(of_scaled, of_factors, outs, norms, of_outs, of_norms, positions, channels, threads);                       \
  }

EXPORTED(float)
EXPORTED(double)
