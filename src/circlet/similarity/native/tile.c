/* The elementwise part of a tile in one pass, which takes eager torch six: the formulas of `blocks`, in fp32.
 *
 * A side of a rule comes as `short_form.Fused` has it: with c = max(s, floor),
 *
 *     q = c^2 and unit slope = c + level    if squared,    else q = s and unit slope = 1.
 *
 * Rows go to the threads of the OpenMP runtime that torch has loaded; sums are added up in an order that depends on
 * the number of threads alone. NaN stays NaN. Built by `build.py`; nothing here allocates what it does not free.
 */

#include <float.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 16, PANEL = 1024, PAIRS_OF_A_THREAD = 16384 };

typedef struct {
    int squared;
    float floor, level, rate;
} Side;

int omp_get_thread_num(void);

/* 2^x to 8e-8: 2^n by its bits, 2^f, |f| <= 1/2, by a polynomial of least relative error. 0 below 2^-126, inf above
 * 2^127.5. */
static inline float power_of_2(float x) {
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

static inline int threads_for(int rows, int columns, int threads) {
    const ptrdiff_t useful = 1 + (ptrdiff_t)rows * columns / PAIRS_OF_A_THREAD;
    return useful < threads ? (int)useful : threads;
}

/* Sum of 2^(rate q + shift) over a part of a row, which is added to the columns as well; -inf does not count. */
static inline float sum_row(const float *s, int columns, Side side, int squared, float shift, float *column_sums) {
    float total = 0.0f;
#pragma omp simd reduction(+ : total)
    for (int j = 0; j < columns; j++) {
        const float c = s[j] < side.floor ? side.floor : s[j];
        const float power = power_of_2(side.rate * (squared ? c * c : s[j]) + shift);
        const float term = s[j] < -FLT_MAX ? 0.0f : power;
        total += term;
        column_sums[j] += term;
    }
    return total;
}

/* Sums of 2^(rate q + shift) over each row (rows,) and each column (columns,). 0: there is no memory. */
int circlet_sums(const float *s, ptrdiff_t stride, int rows, int columns, Side side, float shift, double *row_sums,
                 double *column_sums, int threads) {
    const int panels = (columns + PANEL - 1) / PANEL;
    threads = threads_for(rows, columns, threads);
    double *row_parts = malloc(sizeof(double) * (size_t)panels * rows);
    double *column_parts = calloc((size_t)threads * columns, sizeof(double));
    if (!row_parts || !column_parts) {
        free(row_parts);
        free(column_parts);
        return 0;
    }
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads)
    for (int panel = 0; panel < panels; panel++) {
        for (int first = 0; first < rows; first += CHUNK) {
            const int start = panel * PANEL, width = columns - start < PANEL ? columns - start : PANEL;
            const int last = first + CHUNK < rows ? first + CHUNK : rows;
            float sums[PANEL] = {0.0f};
            for (int i = first; i < last; i++) {
                const float *row = s + i * stride + start;
                row_parts[(size_t)panel * rows + i] = side.squared ? sum_row(row, width, side, 1, shift, sums)
                                                                   : sum_row(row, width, side, 0, shift, sums);
            }
            double *mine = column_parts + (size_t)omp_get_thread_num() * columns + start;
            for (int j = 0; j < width; j++) mine[j] += sums[j];
        }
    }
    for (int i = 0; i < rows; i++) {
        row_sums[i] = 0.0;
        for (int panel = 0; panel < panels; panel++) row_sums[i] += row_parts[(size_t)panel * rows + i];
    }
    for (int j = 0; j < columns; j++) {
        column_sums[j] = 0.0;
        for (int thread = 0; thread < threads; thread++) column_sums[j] += column_parts[(size_t)thread * columns + j];
    }
    free(row_parts);
    free(column_parts);
    return 1;
}

static inline void gradient_row(float *out, const float *s, int columns, Side side, int squared, float shift,
                                float factor, const float *column_factors) {
#pragma omp simd
    for (int j = 0; j < columns; j++) {
        const float c = s[j] < side.floor ? side.floor : s[j];
        const float both = column_factors ? factor + column_factors[j] : factor;
        const float term = power_of_2(side.rate * (squared ? c * c : s[j]) + shift) * both;
        out[j] = squared ? term * (c + side.level) : term;
    }
}

/* slope 2^(rate q + shift_i) factor_i: G; with column_factors (factor_i + factor_j): H. `out` may be `s`. */
void circlet_gradient(float *out, ptrdiff_t out_stride, const float *s, ptrdiff_t stride, int rows, int columns,
                      Side side, const float *shifts, const float *factors, const float *column_factors, int threads) {
    const int panels = (columns + PANEL - 1) / PANEL;
    threads = threads_for(rows, columns, threads);
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads)
    for (int i = 0; i < rows; i++) {
        for (int panel = 0; panel < panels; panel++) {
            const int start = panel * PANEL, width = columns - start < PANEL ? columns - start : PANEL;
            const float *row = s + i * stride + start;
            float *place = out + i * out_stride + start;
            const float *of_columns = column_factors ? column_factors + start : NULL;
            if (side.squared && of_columns) gradient_row(place, row, width, side, 1, shifts[i], factors[i], of_columns);
            else if (side.squared) gradient_row(place, row, width, side, 1, shifts[i], factors[i], NULL);
            else if (of_columns) gradient_row(place, row, width, side, 0, shifts[i], factors[i], of_columns);
            else gradient_row(place, row, width, side, 0, shifts[i], factors[i], NULL);
        }
    }
}

/* What is above the diagonal of a square, below it too. */
void circlet_mirror(float *s, ptrdiff_t stride, int size, int threads) {
    threads = threads_for(size, size, threads);
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int first = 0; first < size; first += CHUNK) {
        const int last = first + CHUNK < size ? first + CHUNK : size;
        for (int start = 0; start < last; start += CHUNK)
            for (int i = first; i < last; i++)
                for (int j = start; j < start + CHUNK && j < i; j++) s[i * stride + j] = s[j * stride + i];
    }
}
