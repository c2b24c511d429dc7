/* What the kernels share: sizes, threads, powers of 2, short forms.
 *
 * Rows go to the threads of the OpenMP runtime that torch has loaded; sums are added up in an order that depends on the
 * number of threads alone. NaN stays NaN. Nothing is allocated that is not freed.
 */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Loops are compiled for the constants that they are called with, however many these are. */
#define INLINE static inline __attribute__((always_inline))

enum { CHUNK = 16, PANEL = 1024, PAIRS_OF_A_THREAD = 16384 };

int omp_get_thread_num(void);

/* 2^x to 8e-8: 2^n by its bits, 2^f, |f| <= 1/2, by a polynomial of least relative error. 0 below 2^-126, inf above
 * 2^127.5. */
INLINE float power_of_2(float x) {
    const float magic = 12582912.0f; /* 1.5 * 2^23: what is added to it is rounded to a whole number, in the low bits */
    x = x < -127.0f ? -127.0f : x;
    x = x > 128.0f ? 128.0f : x;
    union { float number; uint32_t bits; } power = {x + magic};
    const float f = x - (power.number - magic);
    power.bits = (power.bits << 23) + 0x3F800000u;
    float p = 1.535336207e-4f;
    p = p * f + 1.339887459e-3f;
    p = p * f + 9.618437358e-3f;
    p = p * f + 5.550332471e-2f;
    p = p * f + 2.402264791e-1f;
    p = p * f + 6.931472029e-1f;
    p = p * f + 1.0f;
    return p * power.number;
}

/* a b + c rounded once, where the processor can: the digits that forward and backward pass lose are then the same. */
INLINE float multiply_add(float a, float b, float c) {
#ifdef __FP_FAST_FMAF
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;
#endif
}

INLINE int threads_for(int rows, int columns, int threads) {
    const ptrdiff_t useful = 1 + (ptrdiff_t)rows * columns / PAIRS_OF_A_THREAD;
    return useful < threads ? (int)useful : threads;
}

/* A side of a rule as `short_form.Fused` has it: with t = s, or 1 - s if flipped, and c = max(t, floor),
 *
 *     q = c^2 and unit slope = c + level    if squared,    else q = c and unit slope = 1;    minus the slope if flipped.
 *
 * Loops over pairs take the two kinds as constants, or they would not be compiled for vectors.
 */
typedef struct {
    int squared;
    float floor, level;
    int flipped;
} Form;

INLINE float c_of(float s, float floor, int flipped) {
    const float t = flipped ? 1.0f - s : s;
    return t < floor ? floor : t;
}

INLINE float q_of(float c, int squared) { return squared ? c * c : c; }

/* `call` with the constants `squared` and `flipped` of a form. */
#define BY_FORM(form, call)                                        \
    do {                                                           \
        enum { no, yes };                                          \
        if ((form).squared && (form).flipped) call(yes, yes);      \
        else if ((form).squared) call(yes, no);                    \
        else if ((form).flipped) call(no, yes);                    \
        else call(no, no);                                         \
    } while (0)
