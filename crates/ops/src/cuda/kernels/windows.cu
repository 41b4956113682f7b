// Convolutions as products: the numbers that a window sees become a row.

// Where the numbers are: x[image * of_image + channel * of_channel + y * of_row + x * of_col], so that both images with their channels
// first and tokens with their channels last are read as they are.
#define PLACE(image, channel, y, x) ((u64)(image) * of_image + (u64)(channel) * of_channel + (u64)(y) * of_row + (u64)(x) * of_col)

// rows: [batch, out_rows, out_cols, channels, kernel_rows, kernel_cols]; 0 beyond the border.
extern "C" __global__ void windows_forward(const float *__restrict__ x, float *__restrict__ rows, u32 channels, u32 in_rows, u32 in_cols,
                                           u32 out_rows, u32 out_cols, u32 kernel_rows, u32 kernel_cols, u32 stride_rows, u32 stride_cols,
                                           u32 pad_rows, u32 pad_cols, u64 of_image, u64 of_channel, u64 of_row, u64 of_col,
                                           u64 count) {
    EACH(i, count) {
        const u32 kx = i % kernel_cols, ky = i / kernel_cols % kernel_rows;
        u64 rest = i / kernel_cols / kernel_rows;
        const u32 channel = rest % channels;
        rest /= channels;
        const u32 ox = rest % out_cols, oy = rest / out_cols % out_rows;
        const u64 image = rest / out_cols / out_rows;
        const int iy = (int)(oy * stride_rows + ky) - (int)pad_rows, ix = (int)(ox * stride_cols + kx) - (int)pad_cols;
        const bool inside = iy >= 0 && ix >= 0 && iy < (int)in_rows && ix < (int)in_cols;
        rows[i] = inside ? x[PLACE(image, channel, iy, ix)] : 0.0f;
    }
}

// dx of one number: the sum over the windows that see it.
extern "C" __global__ void windows_backward(const float *__restrict__ drows, float *__restrict__ dx, u32 fresh, u32 channels, u32 in_rows,
                                            u32 in_cols, u32 out_rows, u32 out_cols, u32 kernel_rows, u32 kernel_cols, u32 stride_rows,
                                            u32 stride_cols, u32 pad_rows, u32 pad_cols, u64 of_image, u64 of_channel, u64 of_row,
                                            u64 of_col, u64 count) {
    EACH(i, count) {
        const u32 channel = i % channels;
        const u64 place = i / channels;
        const u32 ix = place % in_cols, iy = place / in_cols % in_rows;
        const u64 image = place / in_cols / in_rows;
        float sum = 0.0f;
        for (u32 ky = 0; ky < kernel_rows; ++ky) {
            const int y = (int)(iy + pad_rows) - (int)ky;
            if (y < 0 || y % (int)stride_rows || y / (int)stride_rows >= (int)out_rows) continue;
            for (u32 kx = 0; kx < kernel_cols; ++kx) {
                const int x = (int)(ix + pad_cols) - (int)kx;
                if (x < 0 || x % (int)stride_cols || x / (int)stride_cols >= (int)out_cols) continue;
                const u64 row = (image * out_rows + y / (int)stride_rows) * out_cols + x / (int)stride_cols;
                sum += drows[((row * channels + channel) * kernel_rows + ky) * kernel_cols + kx];
            }
        }
        add_to(dx + PLACE(image, channel, iy, ix), sum, fresh);
    }
}
