/* The elementwise part of a tile in one pass, which takes eager torch six: `sums` and `gradients`, in fp32. */

#include "common.h"

/* Where a block is: its first row is anchor `row`, its first column reference `column`. If mirrored its columns are
 * anchors too, numbered as the references. */
typedef struct {
    int64_t row, column;
    int mirrored;
} Place;

/* The positives of all anchors, references [low, high); own: the references are the anchors, one and itself no pair. */
typedef struct {
    const int64_t *low, *high;
    int own;
} Ranges;

typedef struct {
    int from, to;
} Span;

/* The positives of an anchor among the references from `first` on; where there are none, the span is behind them. */
static inline Span positives_of(const Ranges *ranges, int64_t anchor, int64_t first, int columns) {
    const Span none = {columns, columns};
    if (!ranges) return none;
    const int64_t from = ranges->low[anchor] - first, to = ranges->high[anchor] - first;
    const Span found = {from < 0 ? 0 : (int)(from < columns ? from : columns), (int)(to < columns ? to : columns)};
    return found.from < found.to ? found : none;
}

/* Sum of 2^(rate q + shift) over a part of a row outside of a span, added to the columns, if any, as well. */
INLINE float sum_row(int squared, int flipped, const float *s, int columns, Span out, float floor, float rate,
                     float shift, float *column_sums) {
    float total = 0.0f;
    for (int part = 0; part < 2; part++) {
        const int first = part ? out.to : 0, last = part ? columns : out.from;
#pragma omp simd reduction(+ : total)
        for (int j = first; j < last; j++) {
            const float term = power_of_2(multiply_add(rate, q_of(c_of(s[j], floor, flipped), squared), shift));
            total += term;
            if (column_sums) column_sums[j] += term;
        }
    }
    return total;
}

/* A part of a row, each times its scale, in `place`; without scales as it is. */
INLINE const float *scaled(const float *s, const float *scales, int columns, float *place) {
    if (!scales) return s;
#pragma omp simd
    for (int j = 0; j < columns; j++) place[j] = s[j] * scales[j];
    return place;
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

/* Adds log sum 2^(rate q + shift), as scale (log2 - shift) + offset, to the totals of the rows and, if mirrored, of the
 * columns. Unless `ranges` is null, positives do not count, and their similarities are written into `near` (anchors,
 * most), in the order of the references. scales: of the columns, what makes of `s` similarities, or null. 0, and no
 * total is changed: a sum is too coarse, or there is no memory. */
int circlet_add(const float *s, ptrdiff_t stride, int rows, int columns, const float *scales, const Place *place,
                Form form, float rate, float shift, double scale, double offset, const Ranges *ranges, float *near,
                int64_t most, double *totals, int threads) {
    const int panels = (columns + PANEL - 1) / PANEL;
    threads = threads_for(rows, columns, threads);
    double *row_parts = malloc(sizeof(double) * (size_t)panels * rows);
    double *column_parts = place->mirrored ? calloc((size_t)threads * columns, sizeof(double)) : NULL;
    int done = row_parts && (column_parts || !place->mirrored);
    if (done) {
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads)
        for (int panel = 0; panel < panels; panel++) {
            for (int first = 0; first < rows; first += CHUNK) {
                const int start = panel * PANEL, width = columns - start < PANEL ? columns - start : PANEL;
                const int last = first + CHUNK < rows ? first + CHUNK : rows;
                const int64_t column = place->column + start;
                float sums[PANEL] = {0.0f}, similarities[PANEL];
                for (int i = first; i < last; i++) {
                    const int64_t anchor = place->row + i;
                    const float *row = s + i * stride + start;
                    row = scaled(row, scales ? scales + start : NULL, width, similarities);
                    const Span positive = positives_of(ranges, anchor, column, width);
                    double *part = row_parts + (size_t)panel * rows + i;
#define SUM(squared, flipped, ...) \
    *part = sum_row(squared, flipped, row, width, positive, form.floor, rate, shift, __VA_ARGS__)
#define BOTH_WAYS(squared, flipped) SUM(squared, flipped, sums)
#define OF_ROW(squared, flipped) SUM(squared, flipped, NULL)
                    if (place->mirrored) BY_FORM(form, BOTH_WAYS);
                    else BY_FORM(form, OF_ROW);
                    for (int j = positive.from; j < positive.to; j++) {
                        near[anchor * most + column + j - ranges->low[anchor]] = row[j];
                        if (place->mirrored) near[(column + j) * most + anchor - ranges->low[column + j]] = row[j];
                    }
                }
                if (place->mirrored) {
                    double *mine = column_parts + (size_t)omp_get_thread_num() * columns + start;
                    for (int j = 0; j < width; j++) mine[j] += sums[j];
                }
            }
        }
        for (int panel = 1; panel < panels; panel++)
            for (int i = 0; i < rows; i++) row_parts[i] += row_parts[(size_t)panel * rows + i];
        for (int thread = 1; place->mirrored && thread < threads; thread++)
            for (int j = 0; j < columns; j++) column_parts[j] += column_parts[(size_t)thread * columns + j];
        for (int add = 0; add <= 1 && done; add++) {
            done = add_sums(row_parts, rows, totals + place->row, shift, scale, offset, add);
            if (place->mirrored)
                done = done && add_sums(column_parts, columns, totals + place->column, shift, scale, offset, add);
        }
    }
    free(row_parts);
    free(column_parts);
    return done;
}

/* What arrived at one side of all anchors: A exp(logit - lse) = factor 2^(rate q + shift). */
typedef struct {
    Form form;
    float rate;
    const float *shift, *factor;
} Arrived;

INLINE void gradient_row(int squared, int flipped, float *out, const float *s, int columns, float floor, float level,
                         float rate, float shift, float factor, const float *column_factors) {
#pragma omp simd
    for (int j = 0; j < columns; j++) {
        const float c = c_of(s[j], floor, flipped), both = column_factors ? factor + column_factors[j] : factor;
        const float term = power_of_2(multiply_add(rate, q_of(c, squared), shift)) * (flipped ? -both : both);
        out[j] = squared ? term * (c + level) : term;
    }
}

/* The same by a power of its own for the anchor of each column, the first of which is `other`; -1: for none. */
INLINE void gradient_each(int squared, int flipped, float *out, const float *s, int columns, const Arrived *side,
                          int64_t anchor, int64_t other) {
    for (int j = 0; j < columns; j++) {
        const float c = c_of(s[j], side->form.floor, flipped), q = q_of(c, squared);
        float term = side->factor[anchor] * power_of_2(multiply_add(side->rate, q, side->shift[anchor]));
        if (other >= 0)
            term += side->factor[other + j] * power_of_2(multiply_add(side->rate, q, side->shift[other + j]));
        term = flipped ? -term : term;
        out[j] = squared ? term * (c + side->form.level) : term;
    }
}

/* G = slope 2^(rate q + shift_i) factor_i of a block into `out`, which may be `s`. If mirrored, by one power a pair,
 * H = slope 2^(rate q + middle) (2^(shift_i - middle) factor_i + 2^(shift_j - middle) factor_j). Of negatives; in
 * `ranges`, unless null, of positives by `pos`, and 0 of an anchor and itself. scales: of the columns, what makes of
 * `s` similarities, and of their gradient that of `s`, or null.
 * 0, and nothing is changed: the shifts are too far apart for that (a logit is at most lse, so rate q is at most
 * -shift + 1), or there is no memory. */
int circlet_gradient(float *out, ptrdiff_t out_stride, const float *s, ptrdiff_t stride, int rows, int columns,
                     const float *scales, const Place *place, const Arrived *neg, const Arrived *pos, const Ranges *ranges, int threads) {
    const int panels = (columns + PANEL - 1) / PANEL, mirrored = place->mirrored;
    const float *shifts = neg->shift + place->row, *factors = neg->factor + place->row;
    const float *column_shifts = neg->shift + place->column, *column_factors = neg->factor + place->column;
    const Form form = neg->form;
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
            const int64_t anchor = place->row + i, column = place->column + start;
            const Span positive = positives_of(ranges, anchor, column, width);
            const float shift = mirrored ? middle : shifts[i], factor = mirrored ? of_rows[i] : factors[i];
            const float *of_panel = scales ? scales + start : NULL;
            const float *other = mirrored ? of_columns + start : NULL;
            float *here = out + i * out_stride + start, similarities[PANEL];
            float near[PANEL]; /* before `out`, which may be `s`, is written */
            const float *row = scaled(s + i * stride + start, of_panel, width, similarities);
            memcpy(near, row + positive.from, sizeof(float) * (positive.to - positive.from));
#define GRADIENT(squared, flipped, ...) \
    gradient_row(squared, flipped, here, row, width, form.floor, form.level, neg->rate, shift, factor, __VA_ARGS__)
#define MIRRORED(squared, flipped) GRADIENT(squared, flipped, other)
#define OF_ROWS(squared, flipped) GRADIENT(squared, flipped, NULL)
            if (mirrored) BY_FORM(form, MIRRORED);
            else BY_FORM(form, OF_ROWS);
            if (positive.from < positive.to) {
                const int64_t first = column + positive.from, own = anchor - column;
#define OF_POSITIVES(squared, flipped) \
    gradient_each(squared, flipped, here + positive.from, near, positive.to - positive.from, pos, anchor, \
                  mirrored ? first : -1)
                BY_FORM(pos->form, OF_POSITIVES);
                if (ranges->own && positive.from <= own && own < positive.to) here[own] = 0.0f;
            }
            if (of_panel) scaled(here, of_panel, width, here);
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
