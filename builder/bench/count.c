/* Counts the guest's instructions, all of them and by class, between marks that the guest sets.
 *
 * A plugin of qemu-user 7.2. Debian ships no header for plugins, so the few functions used are declared here as
 * the emulator's documentation describes them. Arguments: table=FILE, rows "class mask value", the first row
 * whose (word & mask) == value decides; out=FILE takes one line a mark: number, vCPUs seen, total, then a count
 * a class. A mark is lseek(MARK, number, 0), which fails with EBADF on every machine and changes nothing.
 *
 * Counters are raised by inline operations, a block at a time: exact for one thread, which is why vCPUs are told.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

enum { API = 1, INLINE_ADD_U64 = 0, LSEEK = 62, MARK = -0x41726d, MAX_ROWS = 256, MAX_CLASSES = 16 };

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

extern void qemu_plugin_register_vcpu_init_cb(plugin_id, void (*)(plugin_id, unsigned vcpu));
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int op, void *counter, uint64_t);
extern void qemu_plugin_register_vcpu_syscall_cb(
    plugin_id, void (*)(plugin_id, unsigned vcpu, int64_t number, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                        uint64_t, uint64_t, uint64_t));
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t index);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);

EXPORT int qemu_plugin_version = API;

static struct { unsigned kind; uint32_t mask, value; } rows[MAX_ROWS];
static unsigned row_count, class_count, vcpus;
static uint64_t total, counts[MAX_CLASSES];
static FILE *out;

static void on_vcpu(plugin_id id, unsigned vcpu)
{
    (void)id, (void)vcpu;
    vcpus++;
}

static void on_block(plugin_id id, struct qemu_plugin_tb *block)
{
    uint64_t here[MAX_CLASSES] = {0};
    size_t size = qemu_plugin_tb_n_insns(block);
    (void)id;
    for (size_t i = 0; i < size; i++) {
        uint32_t word;
        memcpy(&word, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(block, i)), sizeof word);
        for (unsigned row = 0; row < row_count; row++)
            if ((word & rows[row].mask) == rows[row].value) {
                here[rows[row].kind]++;
                break;
            }
    }
    qemu_plugin_register_vcpu_tb_exec_inline(block, INLINE_ADD_U64, &total, size);
    for (unsigned kind = 0; kind < class_count; kind++)
        if (here[kind])
            qemu_plugin_register_vcpu_tb_exec_inline(block, INLINE_ADD_U64, &counts[kind], here[kind]);
}

static void on_syscall(plugin_id id, unsigned vcpu, int64_t number, uint64_t file, uint64_t mark, uint64_t c,
                       uint64_t d, uint64_t e, uint64_t f, uint64_t g, uint64_t h)
{
    (void)id, (void)vcpu, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
    if (number != LSEEK || (int32_t)file != MARK)
        return;
    fprintf(out, "%" PRIu64 " %u %" PRIu64, mark, vcpus, total);
    for (unsigned kind = 0; kind < class_count; kind++)
        fprintf(out, " %" PRIu64, counts[kind]);
    fputc('\n', out);
    fflush(out);
}

static int read_table(const char *path)
{
    FILE *file = fopen(path, "r");
    unsigned kind;
    uint32_t mask, value;
    if (!file)
        return -1;
    while (row_count < MAX_ROWS && fscanf(file, "%u %" SCNx32 " %" SCNx32, &kind, &mask, &value) == 3) {
        if (kind >= MAX_CLASSES)
            break;
        rows[row_count].kind = kind, rows[row_count].mask = mask, rows[row_count].value = value;
        row_count++;
        if (class_count <= kind)
            class_count = kind + 1;
    }
    int whole = feof(file);
    fclose(file);
    return whole ? 0 : -1;
}

EXPORT int qemu_plugin_install(plugin_id id, const void *emulator, int argc, char **argv)
{
    (void)emulator;
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "table=", 6) && read_table(argv[i] + 6))
            return fprintf(stderr, "count: %s is no table\n", argv[i] + 6), -1;
        if (!strncmp(argv[i], "out=", 4) && !(out = fopen(argv[i] + 4, "w")))
            return fprintf(stderr, "count: %s cannot be written\n", argv[i] + 4), -1;
    }
    if (!out || !row_count)
        return fprintf(stderr, "count: needs table=FILE and out=FILE\n"), -1;
    qemu_plugin_register_vcpu_init_cb(id, on_vcpu);
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_block);
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    return 0;
}
