#include "normalise.h"

#include <string.h>

void normalise_prepare(struct normalise_table *table, const float mean[3], const float deviation[3])
{
    for (int channel = 0; channel < 3; channel++)
        for (int byte = 0; byte < 256; byte++)
            table->numbers[channel][byte] = ((float)byte / 255.0f - mean[channel]) / deviation[channel];
}

typedef float lanes __attribute__((vector_size(16)));

/* Four pixels at a time: stores of single floats would take longer than all else. */
void normalise_pixels(const struct normalise_table *table, const uint8_t *bytes, size_t pixels, float *out)
{
    const float *red = table->numbers[0], *green = table->numbers[1], *blue = table->numbers[2];
    size_t done = 0;
    for (; done + 4 <= pixels; done += 4, bytes += 12, out += 12) {
        const lanes first = {red[bytes[0]], green[bytes[1]], blue[bytes[2]], red[bytes[3]]};
        const lanes second = {green[bytes[4]], blue[bytes[5]], red[bytes[6]], green[bytes[7]]};
        const lanes third = {blue[bytes[8]], red[bytes[9]], green[bytes[10]], blue[bytes[11]]};
        memcpy(out, &first, sizeof first);
        memcpy(out + 4, &second, sizeof second);
        memcpy(out + 8, &third, sizeof third);
    }
    for (; done < pixels; done++, bytes += 3, out += 3) {
        const float pixel[3] = {red[bytes[0]], green[bytes[1]], blue[bytes[2]]};
        memcpy(out, pixel, sizeof pixel);
    }
}
