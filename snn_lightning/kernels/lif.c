/* Leaky integrate-and-fire neurons over all T steps, and their reverse recursion: `recursion.py` in C.
 *
 * Every array holds T rows of `neurons` elements; `*_row` is the distance between two rows, in
 * elements. A block of neurons goes through all T steps before the next block starts, so that its
 * potential never leaves the cache and every array crosses the memory bus once.
 *
 * Compiled once per element type (-DFLOAT64, -DBFLOAT16, neither: float32), without contracting
 * a * b + c into one rounding: the results are those of the PyTorch recursion, to the last bit.
 */
#include <stdint.h>
#include <string.h>

#define BLOCK 1024
#define PARALLEL_FROM 16384 /* elements; below, starting threads costs more than it saves */

#if defined(BFLOAT16)
typedef uint16_t element;
typedef float real;
static inline real load(element bits)
{
    uint32_t word = (uint32_t)bits << 16;
    real value;
    memcpy(&value, &word, sizeof value);
    return value;
}
static inline element store(real value) /* to nearest, ties to even; not-a-number stays so */
{
    uint32_t word;
    memcpy(&word, &value, sizeof word);
    uint32_t nearest = (word + 0x7fff + ((word >> 16) & 1)) >> 16;
    return value == value ? nearest : 0x7fc0;
}
static inline real rounded(real value) { return load(store(value)); }
#else
#if defined(FLOAT64)
typedef double real;
#else
typedef float real;
#endif
typedef real element;
static inline real load(element value) { return value; }
static inline element store(real value) { return value; }
static inline real rounded(real value) { return value; }
#endif

/* x may be NULL: it is not kept then. A soft reset takes off `drop`. */
void lif_forward(const element *current, int64_t current_row, element *spikes,
                 element *x, int64_t steps, int64_t neurons, double leak_,
                 double threshold_, double initial, int soft, double drop_, int threads)
{
    const real leak = leak_, threshold = threshold_, drop = drop_;
#pragma omp parallel for num_threads(threads) if (steps * neurons >= PARALLEL_FROM)
    for (int64_t start = 0; start < neurons; start += BLOCK) {
        const int64_t count = neurons - start < BLOCK ? neurons - start : BLOCK;
        real v[BLOCK];
        for (int64_t i = 0; i < count; i++)
            v[i] = initial;
        for (int64_t t = 0; t < steps; t++) {
            const element *c = current + t * current_row + start;
            element *s = spikes + t * neurons + start;
            if (x) {
                element *kept = x + t * neurons + start;
#pragma omp simd
                for (int64_t i = 0; i < count; i++) {
                    const real u = rounded(rounded(leak * v[i]) + load(c[i]));
                    kept[i] = store(u - threshold);
                    v[i] = u;
                }
            } else {
#pragma omp simd
                for (int64_t i = 0; i < count; i++)
                    v[i] = rounded(rounded(leak * v[i]) + load(c[i]));
            }
#pragma omp simd
            for (int64_t i = 0; i < count; i++) {
                const real fires = v[i] >= threshold;
                s[i] = store(fires);
                v[i] = rounded(v[i] - (soft ? drop : v[i]) * fires);
            }
        }
    }
}

void lif_backward(const element *x, int64_t x_row, const element *slope,
                  int64_t slope_row, const element *grad, int64_t grad_row,
                  element *out, int64_t out_row, int64_t steps, int64_t neurons,
                  double leak_, double threshold_, int soft, double drop_, int detach,
                  int threads)
{
    const real leak = leak_, threshold = threshold_, drop = drop_;
#pragma omp parallel for num_threads(threads) if (steps * neurons >= PARALLEL_FROM)
    for (int64_t start = 0; start < neurons; start += BLOCK) {
        const int64_t count = neurons - start < BLOCK ? neurons - start : BLOCK;
        real carried[BLOCK]; /* leak * dL/du[t+1] = dL/dv[t] */
        for (int64_t i = 0; i < count; i++)
            carried[i] = 0;
        for (int64_t t = steps - 1; t >= 0; t--) {
            const element *xs = x + t * x_row + start, *h = slope + t * slope_row + start;
            const element *g = grad + t * grad_row + start;
            element *o = out + t * out_row + start;
#pragma omp simd
            for (int64_t i = 0; i < count; i++) {
                const real kept = load(xs[i]), k = carried[i];
                const real through = soft ? k : (kept >= 0 ? 0 : k); /* dv/du at constant s */
                const real reset = detach ? 0 : soft ? drop : kept + threshold; /* -dv/ds */
                const real d = load(h[i]) * (load(g[i]) - k * reset) + through;
                o[i] = store(d);
                carried[i] = leak * d;
            }
        }
    }
}
