from soar_jax.planning.collectives import collectives

HLO = """
ENTRY %main (p: f32[8,4]) -> f32[8,4] {
  %p = f32[8,4]{1,0:T(8,128)} parameter(0), metadata={op_name="all-reduce(of nothing)"}
  %all-reduce.1 = f32[8,4]{1,0:T(8,128)} all-reduce(%p), replica_groups=[2,2]<=[4], to_apply=%add
  %all-reduce.2 = (bf16[2,3]{1,0}, s32[]) all-reduce(%a, %b), to_apply=%add
  %all-gather-start.1 = (bf16[4,16]{1,0}, bf16[8,16]{1,0}) all-gather-start(%x), dimensions={0}
  %all-gather-done.1 = bf16[8,16]{1,0} all-gather-done(%all-gather-start.1)
  %collective-permute-start = (f32[4]{0}, f32[4]{0}, u32[], u32[]) collective-permute-start(%y)
  %collective-permute-done = f32[4]{0} collective-permute-done(%collective-permute-start)
  ROOT %reduce-scatter.7 = pred[3,5]{1,0} reduce-scatter(%z), dimensions={0}
}
"""


def test_collectives_are_counted_with_the_bytes_of_their_results():
    assert collectives(HLO) == {
        "all-gather": (1, 8 * 16 * 2),
        "all-reduce": (2, 8 * 4 * 4 + 2 * 3 * 2 + 4),
        "collective-permute": (1, 16),
        "reduce-scatter": (1, 15),
    }


# As XLA prints them for GPUs: what started together is one instruction.
COMBINED = """
  %all-gather-start = ((f32[1,8]{1,0}, bf16[4]{0}), (f32[8,8]{1,0}, bf16[32]{0})) all-gather-start(%a, %b), channel_id=1
  %all-gather-done = (f32[8,8]{1,0}, bf16[32]{0}) all-gather-done(%all-gather-start)
  %reduce-scatter-start = ((f32[64,16]{1,0}), f32[8,16]{1,0}) reduce-scatter-start(%c), channel_id=1
  %reduce-scatter-done = f32[8,16]{1,0} reduce-scatter-done(%reduce-scatter-start)
  %all-reduce-start = (f32[128]{0}, f32[2]{0}) all-reduce-start(%d, %e), to_apply=%add
  %all-reduce-done = (f32[128]{0}, f32[2]{0}) all-reduce-done(%all-reduce-start)
"""


def test_asynchronous_collectives_count_once_with_all_results():
    assert collectives(COMBINED) == {
        "all-gather": (1, 8 * 8 * 4 + 32 * 2),
        "all-reduce": (1, 128 * 4 + 2 * 4),
        "reduce-scatter": (1, 8 * 16 * 4),
    }


def test_program_without_collectives_has_none():
    assert collectives("%add.1 = f32[2]{0} add(%a, %b)") == {}
