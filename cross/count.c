/* A plugin for QEMU's user-mode emulation, versions 7 and 8: prints `insns: N`, how many instructions the program has executed.
   Declares what it uses of QEMU, as distributions ship no header.
   cc -O2 -shared -fPIC cross/count.c -o count.so; qemu-aarch64 -d plugin -plugin count.so PROGRAM */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
struct info; struct tb; struct insn;
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t, void (*)(uint64_t, struct tb *));
void qemu_plugin_register_atexit_cb(uint64_t, void (*)(uint64_t, void *), void *);
void qemu_plugin_register_vcpu_insn_exec_inline(struct insn *, int, void *, uint64_t);
size_t qemu_plugin_tb_n_insns(const struct tb *);
struct insn *qemu_plugin_tb_get_insn(const struct tb *, size_t);
int qemu_plugin_version = 1;
static uint64_t executed;
static void translated(uint64_t id, struct tb *block) {
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++)
        qemu_plugin_register_vcpu_insn_exec_inline(qemu_plugin_tb_get_insn(block, i), 0, &executed, 1);
}
static void ended(uint64_t id, void *data) { fprintf(stderr, "insns: %" PRIu64 "\n", executed); }
int qemu_plugin_install(uint64_t id, const struct info *info, int argc, char **argv) {
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
