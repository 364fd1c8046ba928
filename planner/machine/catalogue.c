#include "machine.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "ascii.h"
#include "overheads.h"
#include "text.h"

/* memory: as sold; reported: what the driver offers to programs (with ECC where it is the default), MiB.
 * The difference and a margin are the reserve. Capability: CUDA's compute capability (developer.nvidia.com/cuda-gpus),
 * 900 for 9.0. Speeds are the maker's peaks without sparsity; f32 means true f32 (no
 * TF32); where a chip has no fast f16 its f16 speed is its f32 speed, as cuDNN then computes in f32. Launch: 5 us per
 * kernel on a stream, 2.5 us since Hopper (in a CUDA graph). Links: NVLink per direction, else the PCIe slot's 16 lanes
 * at 80 % of their rate. Host: those lanes, also beside NVLink, and on Grace NVLink-C2C, whose 900 GB/s of both
 * directions a superchip's two GPUs share (NVIDIA GB200 NVL72 datasheet).
 * Nodes and their networks: DGX-1 has 8 GPUs and four EDR ports of 100 Gb/s, DGX A100 8 and eight HDR ports of 200, DGX
 * H100, H200 and B200 8 and eight NDR ports of 400 (DGX user guides; DGX SuperPOD reference architectures), NVL72 72
 * and a port of 400 for each. Cards in slots: 8 to a host, which has a 25 Gb/s port in a rack and 10 Gb/s under a desk:
 * an assumption that --network and machine files replace. */
#define CARD(called, computes, gib, multiprocessors, reported_mib, f32_tera, f16_tera, giga_per_second, launch_us,     \
             library, channels, link_giga, has_nvlink, host_giga, to_a_node, network_giga, told_by)                    \
    {                                                                                                                  \
        .kind = DEVICE_GPU, .name = called, .capability = computes, .memory_bytes = (gib)*GIB,                         \
        .context_bytes = CUDA_CONTEXT_BYTES + (library), .comm_bytes = (channels)*NCCL_CHANNEL_BYTES,                  \
        .reserve_bytes = (gib)*GIB - (reported_mib)*MIB + GPU_MARGIN_BYTES, .workspace_bytes = GPU_WORKSPACE_BYTES,    \
        .flops_f32 = (f32_tera)*1e12, .flops_f16 = (f16_tera)*1e12, .bandwidth = (giga_per_second)*1e9,                \
        .launch_seconds = (launch_us)*1e-6, .processors = multiprocessors, .link_bandwidth = (link_giga)*1e9,          \
        .host_bandwidth = (host_giga)*1e9, .nvlink = has_nvlink, .node_devices = to_a_node,                            \
        .network_bandwidth = (network_giga)*1e9, .source = told_by                                                     \
    }
#define OLD                5, LIBRARY_BYTES
#define NEW                2.5, LIBRARY_BYTES_HOPPER
#define LANES3             12.6
#define LANES4             25.2
#define LANES5             50.4
#define GRACE              225
#define PCIE3              NCCL_CHANNELS_PCIE, LANES3, false, LANES3
#define PCIE4              NCCL_CHANNELS_PCIE, LANES4, false, LANES4
#define PCIE5              NCCL_CHANNELS_PCIE, LANES5, false, LANES5
#define NVLINK(giga, host) NCCL_CHANNELS_NVLINK, giga, true, host
#define OFFICE             8, 1.25
#define RACK               8, 3.125
#define DGX1               8, 4 * 12.5
#define DGX_A100           8, 8 * 25
#define DGX_H100           8, 8 * 50
#define NVL72              72, 72 * 50

/* The two levels let OLD, PCIE3 ... become several arguments. */
#define ROW(...) CARD(__VA_ARGS__)

static const struct device_spec entries[] = {
    /* name, capability, GiB, multiprocessors, reported, f32, f16, GB/s, ... */
    ROW("k40", 350, 12, 15, 11441, 4.29, 4.29, 288, OLD, PCIE3, RACK,
        "Tesla K40 board specification BD-06902; base clock; ECC on"),
    ROW("k80", 370, 12, 13, 11441, 2.8, 2.8, 240, OLD, PCIE3, RACK,
        "Tesla K80 board specification BD-07317, one of its two dies; ECC on"),
    ROW("m40", 520, 12, 24, 11448, 6.84, 6.84, 288, OLD, PCIE3, RACK, "Tesla M40 product brief; ECC on"),
    ROW("m40-24gb", 520, 24, 24, 22945, 6.84, 6.84, 288, OLD, PCIE3, RACK, "Tesla M40 24GB product brief; ECC on"),
    ROW("titan-x", 520, 12, 24, 12207, 6.14, 6.14, 336.5, OLD, PCIE3, OFFICE,
        "GeForce GTX TITAN X (Maxwell, 2015) specifications"),
    ROW("titan-xp", 610, 12, 30, 12196, 12.15, 12.15, 547.7, OLD, PCIE3, OFFICE,
        "NVIDIA TITAN Xp (2017) specifications"),
    ROW("gtx-1080", 610, 8, 20, 8117, 8.87, 8.87, 320, OLD, PCIE3, OFFICE, "GeForce GTX 1080 whitepaper"),
    ROW("gtx-1080-ti", 610, 11, 28, 11172, 11.34, 11.34, 484, OLD, PCIE3, OFFICE, "GeForce GTX 1080 Ti specifications"),
    ROW("p100", 600, 16, 56, 16276, 10.6, 21.2, 732, OLD, NVLINK(80, LANES3), DGX1, "Tesla P100 SXM2 datasheet"),
    ROW("titan-v", 700, 12, 80, 12066, 14.9, 119.2, 652.8, OLD, PCIE3, OFFICE, "NVIDIA TITAN V specifications"),
    ROW("v100-16gb", 700, 16, 80, 16152, 15.7, 125, 900, OLD, NVLINK(150, LANES3), DGX1, "Tesla V100 SXM2 datasheet"),
    ROW("v100-32gb", 700, 32, 80, 32502, 15.7, 125, 900, OLD, NVLINK(150, LANES3), DGX1,
        "Tesla V100 SXM2 32GB datasheet"),
    ROW("t4", 750, 16, 40, 14914, 8.1, 65, 320, OLD, PCIE3, RACK, "NVIDIA T4 datasheet; ECC on"),
    ROW("rtx-2080-ti", 750, 11, 68, 11011, 13.45, 53.8, 616, OLD, PCIE3, OFFICE,
        "Turing whitepaper WP-09183, f32 accumulation"),
    ROW("rtx-3090", 860, 24, 82, 24251, 35.6, 71, 936, OLD, PCIE4, OFFICE, "GA102 whitepaper, f32 accumulation"),
    ROW("rtx-4090", 890, 24, 128, 24202, 82.6, 165.2, 1008, OLD, PCIE4, OFFICE, "Ada whitepaper, f32 accumulation"),
    ROW("rtx-5090", 1200, 32, 170, 32109, 104.8, 209.5, 1792, NEW, PCIE5, OFFICE,
        "RTX Blackwell whitepaper, f32 accumulation"),
    ROW("a10", 860, 24, 72, 22502, 31.2, 125, 600, OLD, PCIE4, RACK, "NVIDIA A10 datasheet; ECC on"),
    ROW("a40", 860, 48, 84, 45403, 37.4, 149.7, 696, OLD, PCIE4, RACK, "NVIDIA A40 datasheet; ECC on"),
    ROW("a100-40gb", 800, 40, 108, 40326, 19.5, 312, 1555, OLD, NVLINK(300, LANES4), DGX_A100,
        "NVIDIA A100 datasheet, SXM4 40GB"),
    ROW("a100-80gb", 800, 80, 108, 81037, 19.5, 312, 2039, OLD, NVLINK(300, LANES4), DGX_A100,
        "NVIDIA A100 datasheet, SXM4 80GB"),
    ROW("l4", 890, 24, 58, 22478, 30.3, 121, 300, OLD, PCIE4, RACK, "NVIDIA L4 datasheet, dense; ECC on"),
    ROW("l40s", 890, 48, 142, 45458, 91.6, 362, 864, OLD, PCIE4, RACK, "NVIDIA L40S datasheet, dense; ECC on"),
    ROW("h100-pcie", 900, 80, 114, 81002, 51, 756, 2000, NEW, PCIE5, RACK, "NVIDIA H100 datasheet, PCIe, dense"),
    ROW("h100", 900, 80, 132, 81002, 67, 989, 3350, NEW, NVLINK(450, LANES5), DGX_H100,
        "NVIDIA H100 datasheet, SXM, dense"),
    ROW("h200", 900, 141, 132, 143161, 67, 989, 4800, NEW, NVLINK(450, LANES5), DGX_H100,
        "NVIDIA H200 datasheet, SXM, dense"),
    ROW("b200", 1000, 180, 148, 182633, 75, 2250, 7700, NEW, NVLINK(900, LANES5), DGX_H100,
        "NVIDIA HGX B200 datasheet, dense"),
    ROW("gb200", 1000, 186, 148, 188416, 80, 2500, 8000, NEW, NVLINK(900, GRACE), NVL72,
        "NVIDIA GB200 NVL72 datasheet, one GPU, dense"),
};
#define ENTRIES (sizeof entries / sizeof entries[0])

/* Other spellings, normalised: drivers' and the PCI list's names. */
static const struct {
    const char *alias, *name;
} aliases[] = {
    {"titanxmaxwell", "titan-x"},
    {"gm200titanx", "titan-x"},
    {"gp102titanxp", "titan-xp"},
    {"gk110blk40m", "k40"},
    {"k40m", "k40"},
    {"k40c", "k40"},
    {"gk210glk80", "k80"},
    {"1080", "gtx-1080"},
    {"1080ti", "gtx-1080-ti"},
    {"p100sxm216gb", "p100"},
    {"p100pcie16gb", "p100"},
    {"v100", "v100-16gb"},
    {"v100sxm2", "v100-16gb"},
    {"v100pcie", "v100-16gb"},
    {"v100sxm216gb", "v100-16gb"},
    {"v100pcie16gb", "v100-16gb"},
    {"v100sxm232gb", "v100-32gb"},
    {"v100sxm332gb", "v100-32gb"},
    {"v100pcie32gb", "v100-32gb"},
    {"2080ti", "rtx-2080-ti"},
    {"3090", "rtx-3090"},
    {"4090", "rtx-4090"},
    {"5090", "rtx-5090"},
    {"a100", "a100-40gb"},
    {"a100sxm", "a100-40gb"},
    {"a100sxm4", "a100-40gb"},
    {"a100pcie", "a100-40gb"},
    {"a100sxm440gb", "a100-40gb"},
    {"a100pcie40gb", "a100-40gb"},
    {"a100sxm480gb", "a100-80gb"},
    {"a10080gbpcie", "a100-80gb"},
    {"a100sxm80gb", "a100-80gb"},
    {"a100sxm40gb", "a100-40gb"},
    {"h10080gbhbm3", "h100"},
    {"h100sxm", "h100"},
    {"h100sxm5", "h100"},
    {"h100sxm580gb", "h100"},
    {"h200sxm", "h200"},
    {"h200sxm141gb", "h200"},
    {"b200sxm", "b200"},
};

/* Names that several cards share, normalised: the one with less memory or, of as much, the one sold most is taken. */
static const struct {
    const char *name, *note;
} shared[] = {
    {"a100", "a100 is taken to be the card of 40 GB; a100-80gb is the other"},
    {"a100sxm4", "a100 is taken to be the card of 40 GB; a100-80gb is the other"},
    {"a100sxm", "a100 is taken to be the card of 40 GB; a100-80gb is the other"},
    {"a100pcie", "a100 is taken to be the card of 40 GB; a100-80gb is the other"},
    {"v100", "v100 is taken to be the card of 16 GB; v100-32gb is the other"},
    {"v100sxm2", "v100 is taken to be the card of 16 GB; v100-32gb is the other"},
    {"v100pcie", "v100 is taken to be the card of 16 GB; v100-32gb is the other"},
    {"m40", "m40 is taken to be the card of 12 GB; m40-24gb is the other"},
    {"h100", "h100 is taken to be the SXM card; h100-pcie is the other"},
};

#define NORMAL_NAME 64

/* "80g" and "80gib" as "80gb". */
static void end_in_gb(char *out, size_t length)
{
    if (length > 3 && strcmp(out + length - 3, "gib") == 0) length -= 2;
    if (length < 2 || length + 1 >= NORMAL_NAME || out[length - 1] != 'g' || !isdigit((unsigned char)out[length - 2]))
        return;
    out[length] = 'b';
    out[length + 1] = '\0';
}

/* Lower case, letters and digits alone, without maker and series. */
static void normalise(const char *name, char out[NORMAL_NAME])
{
    static const char *const series[] = {"nvidia", "geforce", "tesla", "gtx", "rtx"};
    size_t length = 0;
    for (const char *c = name; *c && length + 1 < NORMAL_NAME; c++)
        if (ascii_is_alnum(*c)) out[length++] = ascii_lower(*c);
    out[length] = '\0';
    end_in_gb(out, length);
    for (size_t i = 0; i < sizeof series / sizeof series[0]; i++) {
        size_t cut = strlen(series[i]);
        if (strncmp(out, series[i], cut) == 0 && out[cut]) memmove(out, out + cut, strlen(out + cut) + 1);
    }
}

static const struct device_spec *find_normal(const char *normal)
{
    char entry[NORMAL_NAME];
    for (size_t i = 0; i < ENTRIES; i++) {
        normalise(entries[i].name, entry);
        if (strcmp(entry, normal) == 0) return &entries[i];
    }
    return NULL;
}

const struct device_spec *catalogue_find(const char *name)
{
    char normal[NORMAL_NAME], target[NORMAL_NAME];
    normalise(name, normal);
    for (size_t i = 0; i < sizeof aliases / sizeof aliases[0]; i++)
        if (strcmp(aliases[i].alias, normal) == 0) {
            normalise(aliases[i].name, target);
            return find_normal(target);
        }
    return find_normal(normal);
}

static bool is_as_large(const struct device_spec *spec, uint64_t memory_bytes)
{
    double ratio = (double)memory_bytes / (double)spec->memory_bytes;
    return ratio > 0.85 && ratio < 1.15;
}

const struct device_spec *catalogue_find_sized(const char *name, uint64_t memory_bytes)
{
    const struct device_spec *known = catalogue_find(name);
    char normal[NORMAL_NAME], entry[NORMAL_NAME];
    if (!known || !catalogue_note(name) || is_as_large(known, memory_bytes)) return known;
    normalise(name, normal);
    for (size_t i = 0; i < ENTRIES; i++) {
        normalise(entries[i].name, entry);
        if (strncmp(entry, normal, strlen(normal)) == 0 && is_as_large(&entries[i], memory_bytes)) return &entries[i];
    }
    return known;
}

const char *catalogue_note(const char *name)
{
    char normal[NORMAL_NAME];
    normalise(name, normal);
    for (size_t i = 0; i < sizeof shared / sizeof shared[0]; i++)
        if (strcmp(shared[i].name, normal) == 0) return shared[i].note;
    return NULL;
}

const struct device_spec *catalogue_entries(size_t *count)
{
    *count = ENTRIES;
    return entries;
}

/* A name that starts like the other counts as near; SIZE_MAX where more than half of the letters are others. */
static size_t name_distance(const char *a, const char *b)
{
    size_t distance = text_distance(a, b), left = strlen(a), right = strlen(b);
    size_t shorter = left < right ? left : right, longer = left < right ? right : left;
    if (shorter > 0 && strncmp(a, b, shorter) == 0) return distance / 4;
    return 2 * distance > longer ? SIZE_MAX : distance;
}

char *catalogue_suggest(const char *name, char *out, size_t size)
{
    char normal[NORMAL_NAME], entry[NORMAL_NAME];
    bool taken[ENTRIES] = {false};
    normalise(name, normal);
    out[0] = '\0';
    for (int picks = 0; picks < 3; picks++) {
        size_t best = 0, least = SIZE_MAX;
        for (size_t i = 0; i < ENTRIES; i++) {
            normalise(entries[i].name, entry);
            size_t distance = name_distance(normal, entry);
            if (taken[i] || distance >= least) continue;
            least = distance;
            best = i;
        }
        if (least == SIZE_MAX) break;
        taken[best] = true;
        size_t used = strlen(out);
        snprintf(out + used, size - used, "%s%s", picks ? ", " : "", entries[best].name);
    }
    return out;
}
