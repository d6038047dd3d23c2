"""The hostile programs: what each is given, and the verdict that it must get.

Rows are those of the threat model (docs/threat-model.md). A probe ends by itself and
prints DONE; what it printed as ACHIEVED is an escape.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from executions.tests.suites import checks
from executions.tests.suites.program import MIB, Program

SPIN = {"cpu_time_ms": 1000}
IDLE = {"wall_time_ms": 1500}
SMALL = {"memory_bytes": 128 * MIB}
COMPILE = {"cpu_time_ms": 5000}
NONCE = ("${nonce}",)
PROBE: Mapping[str, str] = {"probe.py": "probe.py"}

RUNTIMES = {
    ".py": "python",
    ".js": "javascript",
    ".ts": "typescript",
    ".c": "c",
    ".cpp": "cpp",
    ".go": "go",
    ".rs": "rust",
    ".java": "java",
    ".sh": "bash",
    ".pl": "perl",
    ".rb": "ruby",
    ".php": "php",
    ".lua": "lua",
    ".hs": "haskell",
    ".nim": "nim",
    ".asm": "assembly",
    ".f90": "fortran",
}


def hostile(ident: str, source: str, *verdicts: str, **more: Any) -> Program:
    runtime = RUNTIMES[source[source.rindex(".") :]]
    return Program(
        id=ident,
        suite="hostile",
        runtime=runtime,
        source=source,
        verdicts=verdicts or ("ok",),
        **more,
    )


def probe(ident: str, source: str, *, library: bool = False, **more: Any) -> Program:
    """A program that tries, reports, and comes to its end."""
    has = (*more.pop("has", ()), "DONE")
    extra = PROBE if library else more.pop("extra", {})
    return hostile(ident, source, has=has, extra=extra, **more)


def refused_source(ident: str, source: str, **more: Any) -> Program:
    """A source that may not compile; its messages may show nothing of the host."""
    more = {"compile_limits": COMPILE, "checks": (checks.kept_at_most(MIB),)} | more
    return hostile(ident, source, "compile_error", **more)


def exhausting(ident: str, source: str, verdict: str, **more: Any) -> Program:
    """A program that says `begin` and is then ended by a limit."""
    return hostile(ident, source, verdict, has=("begin",), **more)


FILES = (
    probe(
        "S1-create-everywhere",
        "s1_create_everywhere.py",
        args=NONCE,
        has=("tried True",),
        unboxed=True,
    ),
    probe(
        "S1-change-bait",
        "s1_change_bait.py",
        library=True,
        args=("${nonce}", "${folders}"),
        unboxed=True,
    ),
    probe("S1-open-system-files", "s1_open_system_files.py", has=("tried many: True",)),
    probe("S1-write-sh", "s1_write.sh", args=("${nonce}", "${folders}"), unboxed=True),
    probe("S1-write-js", "s1_write.js", args=("${nonce}", "${folders}"), unboxed=True),
    probe(
        "S2-read-bait",
        "s2_read_bait.py",
        library=True,
        args=("${folders}",),
        unboxed=True,
    ),
    probe(
        "S2-walk-and-read",
        "s2_walk_and_read.py",
        has=("read some: True",),
        unboxed=True,
    ),
    probe("S2-proc-leaks", "s2_proc_leaks.py", library=True, unboxed=True),
    probe("S2-read-js", "s2_read.js", args=("${folders}",), unboxed=True),
    probe("S2-climb-out", "s2_climb_out.c", args=("${folders}",), unboxed=True),
    probe(
        "S3-environment",
        "s3_environment.py",
        env={"SUITE_ASKED": "for"},
        has=("mine SUITE_ASKED",),
        checks=(checks.names_allowed,),
    ),
    probe("S3-environment-sh", "s3_environment.sh", checks=(checks.names_allowed,)),
    probe("S3-compiler-environment", "s3_compiler_environment.rs"),
    probe("S4-plant-links", "s4_plant_links.py", args=("${folders}",)),
    probe("S4-replace-folder", "s4_replace_folder.sh", args=("${folders}",)),
    probe("S5-leave-special-files", "s5_leave_special_files.py", library=True),
    probe("S5-sparse-file", "s5_sparse_file.py"),
    probe("S5-deep-tree", "s5_deep_tree.c", has=("deep: yes",)),
    probe("S5-many-files", "s5_many_files.py", has=("made many: True",)),
    probe(
        "S6-fill-disk",
        "s6_fill_disk.py",
        args=(str(64 * MIB),),
        limits={"scratch_bytes": 64 * MIB, "memory_bytes": 256 * MIB},
        has=("wrote some: True",),
    ),
    probe(
        "S6-fill-disk-c",
        "s6_fill_disk.c",
        args=(str(32 * MIB),),
        limits={"scratch_bytes": 32 * MIB, "memory_bytes": 512 * MIB},
    ),
    probe("S6-fill-inodes", "s6_fill_inodes.py"),
    hostile(
        "S6-dump-core",
        "s6_dump_core.c",
        "runtime_error",
        signal=6,
        has=("DONE",),
    ),
    refused_source("S6-huge-object-c", "s6_huge_object.c"),
    refused_source("S6-huge-object-cpp", "s6_huge_object.cpp"),
    hostile("S6-memory-files", "s6_memory_files.py", "memory_limit", limits=SMALL),
)

PRIVILEGES = (
    probe(
        "S7-posture",
        "s7_posture.py",
        checks=(checks.unprivileged, checks.mounts_harmless, checks.few_descriptors),
    ),
    *(
        probe(f"S7-posture-{ending}", f"s7_posture.{ending}", checks=(check,))
        for ending in ["c", "js", "sh", "pl", "rb", "php", "lua", "java", "go", "rs"]
        for check in (checks.unprivileged,)
    ),
    probe(
        "S7-gain-privileges",
        "s7_gain_privileges.py",
        library=True,
        has=("still True",),
    ),
    probe("S7-gain-privileges-pl", "s7_gain_privileges.pl"),
    probe("S8-overwrite-runtime", "s8_overwrite_runtime.py", library=True),
    probe("S8-rewrite-itself", "s8_rewrite_itself.c"),
    probe("S8-release-agent", "s8_release_agent.sh"),
    probe("S9-namespaces", "s9_namespaces.py", library=True, unboxed=True),
    probe("S9-privileged-calls", "s9_privileged_calls.py", library=True, unboxed=True),
    probe("S9-from-thread", "s9_from_thread.c", unboxed=True),
    probe("S10-kernel-surface", "s10_kernel_surface.py", library=True, unboxed=True),
    probe("S10-socket-filters", "s10_socket_filters.py", library=True, unboxed=True),
    hostile(
        "S10-int80",
        "s10_int80.c",
        "ok",
        "runtime_error",
        has=("begin",),
        unboxed=True,
    ),
    probe("S10-elf32", "s10_elf32.py", unboxed=True),
    probe("S10-x32", "s10_x32.c"),
    probe("S11-descriptors", "s11_descriptors.c"),
    probe("S11-descriptors-py", "s11_descriptors.py"),
    probe("S11-descriptors-js", "s11_descriptors.js"),
    probe("S11-descriptors-parallel", "s11_descriptors.c", copies=8),
    probe("S11-descriptors-py-parallel", "s11_descriptors.py", copies=8),
    probe("S12-attack-init", "s12_attack_init.py", library=True, args=("${host_pid}",)),
    hostile(
        "S12-signal-init",
        "s12_signal_init.c",
        "runtime_error",
        exit_code=7,
        has=("DONE",),
    ),
    hostile(
        "S12-kill-siblings",
        "s12_kill_siblings.py",
        "runtime_error",
        extra=PROBE,
        exit_code=5,
        has=("DONE",),
    ),
    hostile(
        "S12-flood-init",
        "s12_flood_init.c",
        "runtime_error",
        exit_code=7,
        has=("DONE",),
    ),
    hostile(
        "S12-kill-by-io",
        "s12_kill_by_io.c",
        "runtime_error",
        exit_code=8,
        has=("DONE",),
    ),
    probe("S12-reach-agent", "s12_reach_agent.py"),
)

SURVIVORS = (
    *(
        probe(
            f"S13-{source.split('.')[0][4:].replace('_', '-')}",
            source,
            args=NONCE,
            # A survivor that is waited for would last until the wall limit.
            checks=(checks.wall_below(20_000),),
        )
        for source in (
            "s13_double_fork.py",
            "s13_open_stdout.py",
            "s13_comet.c",
            "s13_stopped.py",
            "s13_adopter.py",
            "s13_nohup.sh",
            "s13_birth_at_the_end.c",
        )
    ),
    hostile(
        "S13-sibling",
        "s13_sibling.c",
        "runtime_error",
        exit_code=9,
        has=("DONE",),
    ),
    probe("S13-survivors-js", "s13_survivors.js", checks=(checks.wall_below(20_000),)),
    hostile(
        "S14-fork-bomb",
        "s14_fork_bomb.sh",
        "time_limit",
        limits={"cpu_time_ms": 2000, "wall_time_ms": 8000},
    ),
    probe(
        "S14-fork-until-refused",
        "s14_fork_until_refused.c",
        args=("64",),
        has=("refused with EAGAIN: 1",),
    ),
    probe(
        "S14-threads-until-refused",
        "s14_threads_until_refused.c",
        args=("64",),
        has=("stopped: 1",),
    ),
    probe("S14-thread-bomb-java", "s14_thread_bomb.java"),
    probe("S14-zombies", "s14_zombies.py", args=("64",)),
    probe("S14-flush-storm", "s14_flush_storm.py"),
    exhausting(
        "S14-bomb-of-spinners", "s14_bomb_of_spinners.c", "time_limit", limits=SPIN
    ),
)

MEMORY = (
    *(
        exhausting(
            f"S15-{kind}",
            "s15_heap.c",
            "memory_limit",
            args=(kind,),
            limits=SMALL,
            reason="MiB",
            checks=(checks.memory_at_most(130 * MIB),),
        )
        for kind in (
            "heap",
            "bss",
            "shared",
            "locked",
            "memfd",
            "sysv",
            "children",
            "small-maps",
            "page-tables",
        )
    ),
    probe("S15-huge-pages", "s15_huge_pages.py"),
    exhausting("S15-stack", "s15_stack.c", "runtime_error", signal=11),
    exhausting(
        "S15-thread-stacks", "s15_thread_stacks.c", "memory_limit", limits=SMALL
    ),
    exhausting("S15-off-heap-java", "s15_off_heap.java", "memory_limit"),
    exhausting("S15-buffers-js", "s15_buffers.js", "memory_limit"),
    exhausting("S15-inflate", "s15_inflate.py", "memory_limit"),
    exhausting(
        "S15-scratch",
        "s15_scratch.py",
        "memory_limit",
        limits=SMALL | {"scratch_bytes": 512 * MIB},
    ),
    hostile("S15-pipes-and-sockets", "s15_pipes_and_sockets.py", "ok", "memory_limit"),
)

TIME = (
    *(
        exhausting(
            f"S16-{kind}",
            "s16_spin.c",
            "time_limit",
            args=(kind,),
            limits=SPIN,
            reason="CPU",
            checks=(checks.cpu_between(950, 1400),),
        )
        for kind in (
            "threads",
            "ignore",
            "children",
            "relay",
            "orphans",
            "hidden",
            "system",
        )
    ),
    *(
        exhausting(
            f"S16-spin-{ending}",
            f"s16_spin.{ending}",
            "time_limit",
            limits=SPIN,
            reason="CPU",
            checks=(checks.cpu_between(950, 1400),),
        )
        for ending in ("py", "js", "sh")
    ),
    *(
        exhausting(
            f"S17-{kind}",
            "s17_idle.py",
            "time_limit",
            args=(kind,),
            limits=IDLE,
            reason="wall",
            checks=(checks.wall_below(3500),),
        )
        for kind in (
            "sleep",
            "stop",
            "pause",
            "fifo",
            "deadlock",
            "select",
            "stopgroup",
            "wait",
        )
    ),
    hostile(
        "S19-clock-and-priority",
        "s19_clock_and_priority.py",
        "time_limit",
        extra=PROBE,
        limits=SPIN,
        has=("year is sane: True", "DONE"),
        reason="CPU",
    ),
)

FLOOD = 5 * MIB
CUT = {"output_bytes": 100_000}
OUTPUT = (
    hostile(
        "S20-stdout",
        "s20_flood.py",
        "output_limit",
        args=("stdout", str(FLOOD)),
        limits=CUT,
        checks=(checks.cut_to("stdout", 100_000, FLOOD), checks.cut_to("stderr", 8, 8)),
    ),
    hostile(
        "S20-stderr",
        "s20_flood.py",
        "output_limit",
        args=("stderr", str(FLOOD)),
        limits=CUT,
        stdout=b"went on\n",
        checks=(checks.cut_to("stderr", 100_000, FLOOD),),
    ),
    hostile(
        "S20-both",
        "s20_flood.py",
        "output_limit",
        args=("both", str(FLOOD)),
        limits=CUT,
        checks=(
            checks.cut_to("stdout", 100_000, FLOOD),
            checks.cut_to("stderr", 100_000, FLOOD),
        ),
    ),
    hostile(
        "S20-one-line",
        "s20_flood.py",
        "output_limit",
        args=("line", str(FLOOD)),
        limits=CUT,
        checks=(checks.cut_to("stdout", 100_000, FLOOD),),
    ),
    hostile(
        "S20-grandchild",
        "s20_flood.py",
        "output_limit",
        args=("child", str(FLOOD)),
        limits=CUT,
        checks=(checks.cut_to("stdout", 100_000, FLOOD),),
    ),
    *(
        hostile(
            f"S20-for-ever-{name}",
            "s20_flood_for_ever.c",
            "output_limit",
            args=args,
            checks=(checks.kept_at_most(MIB), checks.wall_below(30_000)),
        )
        for name, args in (("stdout", ()), ("stderr", ("2",)))
    ),
    hostile(
        "S20-flood-with-forks",
        "s20_flood_with_forks.sh",
        "output_limit",
        checks=(checks.kept_at_most(MIB),),
    ),
    hostile("S20-single-bytes", "s20_single_bytes.c", stdout=b"b" * 800_000),
    probe("S20-truncate-stdout", "s20_truncate_stdout.py", has=("kept",)),
    hostile(
        "S20-cut-letters",
        "s20_cut_letters.py",
        "output_limit",
        limits={"output_bytes": 1001},
        checks=(checks.cut_to("stdout", 1001, 6000), checks.reads_as_utf8_tail),
    ),
)

VERDICTS = (
    hostile("S22-forged-text", "s22_forged_text.py", "runtime_error", exit_code=3),
    *(
        hostile(
            f"S22-exit-{code}",
            "s22_exit_code.c",
            "runtime_error",
            args=(str(code),),
            exit_code=code,
            reason=f"code {code}",
        )
        for code in (124, 125, 126, 127, 137, 143, 255)
    ),
    *(
        exhausting(
            f"S22-signal-{number}",
            "s22_own_signal.c",
            "runtime_error",
            args=(str(number),),
            signal=number,
            reason=f"signal {number}",
        )
        for number in (9, 15, 24, 25, 31)
    ),
    probe("S22-success-with-noise", "s22_success_with_noise.py", exit_code=0),
    hostile(
        "S22-fail-from-child",
        "s22_fail_from_child.py",
        "runtime_error",
        exit_code=4,
        lacks=("ok, exit",),
    ),
    hostile("S22-exec-other", "s22_exec_other.sh", "runtime_error", exit_code=6),
    refused_source("S22-forged-compiler", "s22_forged_compiler.c"),
)

NETWORK = (
    probe(
        "S26-network",
        "s26_network.py",
        args=(
            "${tcp_port}",
            "${tcp6_port}",
            "${udp_port}",
            "${unix_path}",
            "${abstract_name}",
            "${outside}",
        ),
        unboxed=True,
    ),
    probe(
        "S26-network-js",
        "s26_network.js",
        args=("${tcp_port}", "${unix_path}", "${abstract_name}", "${outside}"),
        unboxed=True,
    ),
    probe(
        "S26-network-go",
        "s26_network.go",
        args=("${tcp_port}", "${unix_path}", "${abstract_name}"),
    ),
    probe(
        "S26-shared-memory",
        "s26_raw_ipc.py",
        library=True,
        args=("${sysv_key}", "${shm_id}", "${msg_id}"),
        unboxed=True,
    ),
)

COMPILING = (
    *(
        refused_source(f"S27-{source.split('_', 1)[1].replace('_', '-')}", source)
        for source in (
            "s27_include_shadow.c",
            "s27_include_bait.c",
            "s27_include_bait.cpp",
            "s27_incbin.cpp",
            "s27_incbin_init.c",
            "s27_include_str.rs",
            "s27_env.rs",
            "s27_cgo.go",
            "s27_cgo_flags.go",
            "s27_embed.go",
            "s27_dev_zero.c",
            "s27_dev_urandom.cpp",
            "s27_include_itself.c",
            "s27_macro_bomb.c",
            "s27_template_bomb.cpp",
            "s27_template_depth.cpp",
            "s27_constexpr_bomb.cpp",
            "s27_error_flood.cpp",
            "s27_const_bomb.rs",
            "s27_macro_bomb.rs",
            "s27_type_bomb.ts",
            "s27_import_host.ts",
            "s27_huge_constants.java",
            "s27_big_array.go",
            "s27_incbin.asm",
            "s27_include.f90",
            "s27_static_exec.nim",
            "s27_static_exec_spin.nim",
        )
    ),
    hostile(
        "S27-dev-stdin.c",
        "s27_dev_stdin.c",
        stdin='#error "ACHIEVED: the program\'s stdin reached the compiler"\n',
        lacks=("error ACHIEVED",),
    ),
    probe("S27-incbin-proc", "s27_incbin_proc.c", lacks=("DATABASE", "SECRET")),
    probe(
        "S27-template-haskell",
        "s27_template_haskell.hs",
        has=("denied",),
        lacks=("DATABASE", "SECRET"),
    ),
    probe("S27-kill-everyone", "s27_kill_everyone.nim"),
    probe("S27-stop-everyone", "s27_stop_everyone.nim"),
    refused_source("S27-plant-links", "s27_plant_links.nim"),
    probe(
        "S27-annotation-processor",
        "s27_processor_java.java",
        extra={
            "META-INF/services/javax.annotation.processing.Processor": b"Evil\n",
        },
    ),
)

NEIGHBOURS = (
    probe("S28-leave", "s28_leave.py", args=NONCE),
    probe("S28-look", "s28_look.py", args=NONCE, after="S28-leave"),
    probe("S28-leave-sh", "s28_leave.sh", args=NONCE),
    probe("S28-look-sh", "s28_look.sh", args=NONCE, after="S28-leave-sh"),
    probe("S29-hold", "s29_hold.py", args=NONCE),
    probe("S29-look", "s29_look.py", args=NONCE, beside="S29-hold"),
    probe("S30-shared-locks", "s30_shared_locks.py"),
    *(
        hostile(
            f"S30-{kind}-buffers",
            "s30_network_buffers.c",
            "ok",
            "memory_limit",
            args=(kind,),
        )
        for kind in ("tcp", "udp")
    ),
    hostile("S30-netlink-buffers", "s30_netlink_buffers.c", "ok", "memory_limit"),
    hostile(
        "S30-socket-buffers",
        "s30_socket_buffers.c",
        "ok",
        "memory_limit",
        args=("40", "480"),
    ),
    probe(
        "S32-arguments",
        "s32_arguments.py",
        args=(
            "$(touch /tmp/pwned-${nonce})",
            "; touch /tmp/pwned-${nonce}",
            "`id`",
            "-c",
            "--help",
            "a\nb",
            "",
            "ü\u2028",
            "../../etc/passwd",
            "%s%n",
            "* ? [a]",
        ),
        has=(
            "'; touch /tmp/pwned-",
            "'`id`'",
            "'--help'",
            "'a\\nb'",
            "''",
            "'\\xfc\\u2028'",
            "'* ? [a]'",
        ),
    ),
)

HOSTILE: tuple[Program, ...] = (
    *FILES,
    *PRIVILEGES,
    *SURVIVORS,
    *MEMORY,
    *TIME,
    *OUTPUT,
    *VERDICTS,
    *NETWORK,
    *COMPILING,
    *NEIGHBOURS,
)
