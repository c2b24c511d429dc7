/* The elementwise part of a tile in one pass, which takes eager torch six: `sums` and `gradients`, in fp32. */

#include "common.h"

/* Sum of 2^(rate q + shift) over a part of a row, added to the columns, if any, as well; -inf does not count. */
INLINE float sum_row(int squared, int flipped, const float *s, int columns, float floor, float rate, float shift,
                     float *column_sums) {
    float total = 0.0f;
#pragma omp simd reduction(+ : total)
    for (int j = 0; j < columns; j++) {
        const float power = power_of_2(rate * q_of(c_of(s[j], floor, flipped), squared) + shift);
        const float term = s[j] < -FLT_MAX ? 0.0f : power;
        total += term;
        if (column_sums) column_sums[j] += term;
    }
    return total;
}

static inline double add_logs(double a, double b) {
    const double high = a < b ? b : a, low = a < b ? a : b;
    return low == -INFINITY ? high : high + log1p(exp(low - high));
}

/* Adds each sum to its log-sum-exp; 0, and adds none, if one is too coarse: what is lost in it may be something. */
static int add_sums(const double *sums, int count, double *totals, float shift, double scale, double offset, int add) {
    for (int i = 0; i < count; i++) {
        if (!(sums[i] > 0x1p-80 && sums[i] < INFINITY)) return 0; /* nor NaN */
        if (add) totals[i] = add_logs(totals[i], (log2(sums[i]) - shift) * scale + offset);
    }
    return 1;
}

/* Adds log sum 2^(rate q + shift), as scale (log2 - shift) + offset, to the totals of the rows and, unless null, of the
 * columns. 0, and nothing is changed: a sum is too coarse, or there is no memory. */
int circlet_add(const float *s, ptrdiff_t stride, int rows, int columns, Form form, float rate, float shift,
                double scale, double offset, double *row_totals, double *column_totals, int threads) {
    const int panels = (columns + PANEL - 1) / PANEL;
    threads = threads_for(rows, columns, threads);
    double *row_parts = malloc(sizeof(double) * (size_t)panels * rows);
    double *column_parts = calloc((size_t)threads * columns, sizeof(double));
    int done = row_parts && column_parts;
    if (done) {
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads)
        for (int panel = 0; panel < panels; panel++) {
            for (int first = 0; first < rows; first += CHUNK) {
                const int start = panel * PANEL, width = columns - start < PANEL ? columns - start : PANEL;
                const int last = first + CHUNK < rows ? first + CHUNK : rows;
                float sums[PANEL] = {0.0f};
                for (int i = first; i < last; i++) {
                    const float *row = s + i * stride + start;
                    double *part = row_parts + (size_t)panel * rows + i;
#define SUM(squared, flipped, ...) *part = sum_row(squared, flipped, row, width, form.floor, rate, shift, __VA_ARGS__)
#define BOTH_WAYS(squared, flipped) SUM(squared, flipped, sums)
#define OF_ROW(squared, flipped) SUM(squared, flipped, NULL)
                    if (column_totals) BY_FORM(form, BOTH_WAYS);
                    else BY_FORM(form, OF_ROW);
                }
                double *mine = column_parts + (size_t)omp_get_thread_num() * columns + start;
                if (column_totals)
                    for (int j = 0; j < width; j++) mine[j] += sums[j];
            }
        }
        for (int panel = 1; panel < panels; panel++)
            for (int i = 0; i < rows; i++) row_parts[i] += row_parts[(size_t)panel * rows + i];
        for (int thread = 1; thread < threads; thread++)
            for (int j = 0; j < columns; j++) column_parts[j] += column_parts[(size_t)thread * columns + j];
        for (int add = 0; add <= 1 && done; add++) {
            done = add_sums(row_parts, rows, row_totals, shift, scale, offset, add);
            if (column_totals) done = done && add_sums(column_parts, columns, column_totals, shift, scale, offset, add);
        }
    }
    free(row_parts);
    free(column_parts);
    return done;
}

INLINE void gradient_row(int squared, int flipped, float *out, const float *s, int columns, float floor, float level,
                         float rate, float shift, float factor, const float *column_factors) {
#pragma omp simd
    for (int j = 0; j < columns; j++) {
        const float c = c_of(s[j], floor, flipped), both = column_factors ? factor + column_factors[j] : factor;
        const float term = power_of_2(rate * q_of(c, squared) + shift) * (flipped ? -both : both);
        out[j] = squared ? term * (c + level) : term;
    }
}

/* G = slope 2^(rate q + shift_i) factor_i of a block into `out`, which may be `s`. With those of the columns, by one power
 * a pair, H = slope 2^(rate q + middle) (2^(shift_i - middle) factor_i + 2^(shift_j - middle) factor_j).
 * 0, and nothing is changed: the shifts are too far apart for that (a logit is at most lse, so rate q is at most
 * -shift + 1), or there is no memory. */
int circlet_gradient(float *out, ptrdiff_t out_stride, const float *s, ptrdiff_t stride, int rows, int columns, Form form,
                     float rate, const float *shifts, const float *factors, const float *column_shifts,
                     const float *column_factors, int threads) {
    const int panels = (columns + PANEL - 1) / PANEL, mirrored = column_shifts != NULL;
    float *of_rows = NULL, *of_columns = NULL, middle = 0.0f;
    if (mirrored) {
        float low = shifts[0], high = shifts[0];
        for (int i = 0; i < rows + columns; i++) {
            const float shift = i < rows ? shifts[i] : column_shifts[i - rows];
            low = shift < low ? shift : low;
            high = shift > high ? shift : high;
            if (shift != shift) return 0;
        }
        if (!(high - low < 160.0f)) return 0;
        middle = rintf((low + high) / 2);
        of_rows = malloc(sizeof(float) * ((size_t)rows + columns));
        if (!of_rows) return 0;
        of_columns = of_rows + rows;
        for (int i = 0; i < rows; i++) of_rows[i] = power_of_2(shifts[i] - middle) * factors[i];
        for (int j = 0; j < columns; j++) of_columns[j] = power_of_2(column_shifts[j] - middle) * column_factors[j];
    }
    threads = threads_for(rows, columns, threads);
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads)
    for (int i = 0; i < rows; i++) {
        for (int panel = 0; panel < panels; panel++) {
            const int start = panel * PANEL, width = columns - start < PANEL ? columns - start : PANEL;
            const float *row = s + i * stride + start, *other = mirrored ? of_columns + start : NULL;
            const float shift = mirrored ? middle : shifts[i], factor = mirrored ? of_rows[i] : factors[i];
            float *place = out + i * out_stride + start;
#define GRADIENT(squared, flipped, ...) \
    gradient_row(squared, flipped, place, row, width, form.floor, form.level, rate, shift, factor, __VA_ARGS__)
#define MIRRORED(squared, flipped) GRADIENT(squared, flipped, other)
#define OF_ROWS(squared, flipped) GRADIENT(squared, flipped, NULL)
            if (mirrored) BY_FORM(form, MIRRORED);
            else BY_FORM(form, OF_ROWS);
        }
    }
    free(of_rows);
    return 1;
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
