// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Sequencer: registers, loops, operand resolution and dispatch (docs/machine.md). One instruction at a time: an
// instruction of another unit takes its operands + 7 cycles, ALU and LOOP 5, a cycle more where a loop ends, and units
// run from queues, so this is hidden.

module sequencer (
    input  logic                                 clk_i,
    input  logic                                 rst_ni,
    input  logic                                 start_i,
    input  logic                         [ 31:0] pos_i,
    input  logic                         [ 31:0] ntok_i,
    input  logic                         [ 31:0] nlog_i,
    input  logic                         [ 31:0] masken_i,
    input  logic                         [ 31:0] core_i,
    input  logic                         [ 31:0] program_len_i,
    output logic                                 done_o,         // one cycle: HALT reached in the legal state
    output logic                         [  3:0] error_o,        // one cycle: error code
    output logic                         [ 31:0] pc_o,
    output logic                                 busy_o,
    output logic                                 stalled_o,      // a queue is full, or a barrier waits
    // instructions
    output logic                                 fetch_stop_o,
    output logic                                 jump_o,
    output logic                         [ 31:0] jump_pc_o,
    input  logic                                 inst_valid_i,
    input  logic                         [511:0] inst_i,
    output logic                                 inst_ready_o,
    // queues, by flightllm_isa_pkg::unit_e
    output logic                         [  4:0] queue_valid_o,
    output flightllm_isa_pkg::dispatch_t         queue_data_o,
    input  logic                         [  4:0] queue_ready_i,
    input  logic                         [  4:0] unit_idle_i,    // no instruction in the unit nor in its queue
    input  logic                                 clean_i         // tokens zero and rings empty
);
  import flightllm_isa_pkg::*;
  localparam logic [3:0] ErrIllegal = 4'd1;
  localparam logic [3:0] ErrHalt = 4'd6;

  typedef enum logic [3:0] {
    StOff,
    StInit,
    StFetch,
    StDecode,
    StResolve,
    StDispatch,
    StScalar0,
    StScalar1,
    StBarrier,
    StHalt,
    StSettle,
    StNext
  } state_e;
  state_e state_q;

  logic [511:0] inst_q;
  logic [31:0] pc_q;
  logic [MaxOperands-1:0][39:0] res_q;

  typedef struct packed {
    logic [31:0] first;
    logic [31:0] last;
    logic [31:0] left;   // iterations after this one
    logic [4:0]  rd;
  } loop_entry_t;
  loop_entry_t top_q;  // the innermost loop
  logic [2:0] depth_q;
  logic enter, leave, repeats;

  alu_t  alu;
  loop_t lp;
  alu_t  fetched;
  loop_t fetched_loop;
  assign fetched = alu_t'(inst_i);
  assign fetched_loop = loop_t'(inst_i);
  assign alu = alu_t'(inst_q);
  assign lp = loop_t'(inst_q);

  // --- registers: a memory with two reads and one write; what was not written in this run is zero -----------------
  logic [31:0] regs_mem[Registers];
  logic [Registers-1:0] written_q;
  logic [4:0] ra_q, rb_q, rd;  // read in this cycle; written
  logic [31:0] a, b, rd_value;
  logic rd_write, set_q;
  logic [4:0] set_id_q;
  assign a = written_q[ra_q] ? regs_mem[ra_q] : '0;
  assign b = written_q[rb_q] ? regs_mem[rb_q] : '0;
  always_ff @(posedge clk_i) begin
    if (rd_write) regs_mem[rd] <= rd_value;
    // a cycle late: what is written is read three cycles later at the earliest
    set_q    <= rd_write && rd != RegZero;
    set_id_q <= rd;
    if (!busy_o) written_q <= '0;
    else if (set_q) written_q[set_id_q] <= 1'b1;
  end

  // --- operands: find, select, read, multiply, add; one enters a cycle. Scalar instructions use the same steps ----------
  logic [3:0] index_q, res_index_q;  // of the operand to be found, and of the next result
  logic [PlaceBits-1:0] place_q;
  logic v0_q, v1_q, v2_q;
  operand_t operand;
  logic [39:0] operand_base_q, stride_q;
  logic signed [31:0] a_q;
  logic [31:0] b_plus;
  logic [39:0] b_q, base1_q, base2_q, sum;
  // a = 2^17 a1 + a0, b = 2^26 b1 + b0: parts of one DSP each; of a1 b0 and a0 b1 only what lies below 2^40
  logic signed [22:0] a1;
  logic [39:0] a0b0_q;
  logic [22:0] a1b0_q;
  logic [13:0] a0b1_q;
  assign a1 = 23'(signed'(a_q[31:17]));
  assign sum = (base2_q + {a0b1_q, 26'd0}) + (a0b0_q + {a1b0_q, 17'd0});
  assign operand = operand_at(inst_q, place_q);
  assign b_plus = b + (inst_q[5:0] == OpLoop ? 32'(lp.count) : alu.imm);
  always_ff @(posedge clk_i) begin
    place_q <= operand_place(inst_q[5:0], index_q);
    if (state_q == StFetch) begin
      ra_q <= fetched.ra;
      rb_q <= inst_i[5:0] == OpLoop ? fetched_loop.count_r : fetched.rb;
    end else begin
      ra_q <= operand.register_id;
      rb_q <= top_q.rd;  // for StNext
    end
    operand_base_q <= operand.base;
    stride_q       <= operand.stride;
    v0_q           <= state_q == StResolve && place_q != 0;
    v1_q           <= v0_q;
    v2_q           <= v1_q;
    a_q            <= a;
    if (state_q == StDecode) begin
      base1_q <= '0;
      b_q     <= 40'(b_plus);
    end else begin
      base1_q <= operand_base_q;
      b_q     <= stride_q;
    end
    base2_q <= base1_q;
    a0b0_q  <= 40'(a_q[16:0]) * 40'(b_q[25:0]);
    a1b0_q  <= unsigned'(a1) * b_q[22:0];
    a0b1_q  <= a_q[13:0] * b_q[39:26];
    if (v2_q) res_q[res_index_q[2:0]] <= sum;
    res_index_q <= state_q == StDecode ? '0 : res_index_q + 4'(v2_q);
  end

  // --- scalar arithmetic: everything but the product is done a cycle earlier --------------------------------------
  logic signed [31:0] b_word, other, other_q;
  assign b_word = signed'(b_q[31:0]);
  always_comb begin
    unique case (alu_op_e'(alu.op))
      AluOpAdd: other = a_q + b_word;
      AluOpSub: other = a_q - b_word;
      AluOpAnd: other = a_q & b_word;
      AluOpShl: other = a_q << b_word[4:0];
      AluOpShr: other = a_q >>> b_word[4:0];
      AluOpMin: other = a_q < b_word ? a_q : b_word;
      AluOpMax: other = a_q > b_word ? a_q : b_word;
      default:  other = '0;
    endcase
  end
  always_ff @(posedge clk_i) other_q <= other;

  // --- loops: the innermost in registers, those around it in a memory ---------------------------------------------
  loop_entry_t outer_mem[LoopDepth];  // [d]: the loop around the one at depth d + 1
  // What holds of pc_q and the innermost loop in the cycle before. Neither changes in the cycle before StNext, but by a
  // LOOP, which is never the last of a body.
  logic at_end_q, again_q;
  // the end of the body of a LOOP, two cycles behind inst_q and pc_q; whether it cannot be, three
  logic [31:0] body_end_q;
  logic [31:0] after_q;  // pc_q + 1
  logic [31:0] left_q;
  logic skip_q;  // pc_q stands at the end of a body that is skipped, and the fetch does not
  logic loop_bad_q, no_count_q;
  assign enter   = state_q == StScalar1 && inst_q[5:0] == OpLoop && !loop_bad_q && !no_count_q;
  assign repeats = state_q == StNext && again_q;
  assign leave   = state_q == StNext && at_end_q && !again_q;
  always_ff @(posedge clk_i) begin
    at_end_q   <= depth_q != 0 && pc_q == top_q.last;
    again_q    <= depth_q != 0 && pc_q == top_q.last && top_q.left != 0;
    after_q    <= pc_q + 32'd1;
    body_end_q <= pc_q + 32'(lp.body);
    loop_bad_q <= lp.body == 0 || depth_q == 3'(LoopDepth) || (depth_q != 0 && body_end_q > top_q.last);
    no_count_q <= b_word <= 0;
    left_q     <= b_q[31:0] - 32'd1;
    if (enter) begin
      outer_mem[depth_q[1:0]] <= top_q;
      top_q <= '{first: after_q, last: body_end_q, left: left_q, rd: lp.rd};
    end else if (leave) begin
      top_q <= outer_mem[2'(depth_q-3'd1)];
    end else if (repeats) begin
      top_q.left <= top_q.left - 32'd1;
    end
  end

  // --- writes of registers ---------------------------------------------------------------------------------------
  always_comb begin
    rd_write = 1'b0;
    rd = top_q.rd;
    rd_value = b + 32'd1;
    unique case (state_q)
      StInit: begin
        rd_write = 1'b1;
        rd = 5'(index_q);
        unique case (5'(index_q))
          RegPos:   rd_value = pos_i;
          RegNtok:  rd_value = ntok_i;
          RegKvlen: rd_value = pos_i + ntok_i;
          RegCore:  rd_value = core_i;
          RegNlog:  rd_value = nlog_i;
          default:  rd_value = masken_i;
        endcase
      end
      StScalar1: begin
        rd_write = enter || inst_q[5:0] == OpAlu;
        rd = inst_q[5:0] == OpAlu ? alu.rd : lp.rd;
        rd_value = inst_q[5:0] != OpAlu ? '0 : alu.op == AluOpMul ? sum[31:0] : other_q;
      end
      StNext:  rd_write = repeats;
      default: ;
    endcase
  end

  // Legality is known two cycles behind StDecode: registers may be written before, but nothing is seen of the instruction.
  logic [LegalFacts-1:0] facts_q;
  logic [LegalFacts:0] needs_q;
  logic illegal_q, decoded_q, judged_q;
  always_ff @(posedge clk_i) begin
    facts_q   <= legal_facts(inst_q);
    needs_q   <= legal_needs(inst_q[5:0]);
    illegal_q <= !legal(needs_q, facts_q);
    decoded_q <= state_q == StDecode;
    judged_q  <= decoded_q;
  end

  // What BARRIER and HALT wait for, a cycle late: nothing has been dispatched for four cycles when they look.
  logic all_idle_q, barrier_idle_q, clean_q;
  always_ff @(posedge clk_i) begin
    all_idle_q     <= &unit_idle_i;
    barrier_idle_q <= &unit_idle_i[3:0];
    clean_q        <= clean_i;
  end

  unit_e unit;
  assign unit = unit_of(inst_q[5:0]);
  always_comb begin
    queue_valid_o = '0;
    if (state_q == StDispatch) queue_valid_o[unit] = 1'b1;
    queue_data_o.inst = inst_q;
    queue_data_o.res  = res_q;
  end

  assign inst_ready_o = state_q == StFetch;
  assign fetch_stop_o = state_q == StHalt || error_o != 0;
  assign pc_o = pc_q;
  assign busy_o = state_q != StOff;
  assign stalled_o = (state_q == StDispatch && !queue_ready_i[unit]) || state_q == StBarrier;

  always_ff @(posedge clk_i) begin
    done_o <= 1'b0;
    error_o <= '0;
    jump_o <= 1'b0;
    jump_pc_o <= again_q ? top_q.first : after_q;
    if (!rst_ni) begin
      state_q <= StOff;
      depth_q <= '0;
    end else if (judged_q && illegal_q) begin
      error_o <= ErrIllegal;
      state_q <= StOff;
    end else begin
      unique case (state_q)
        StOff: begin  // pc_q stays for the host
          index_q <= 4'(RegPos);
          if (start_i) state_q <= StInit;
        end
        StInit: begin  // the registers that the host sets, one a cycle, while the first instructions are fetched
          pc_q <= '0;
          depth_q <= '0;
          skip_q <= 1'b0;
          index_q <= index_q + 4'd1;
          if (index_q == 4'(RegMasken)) state_q <= StFetch;
        end
        StFetch: begin
          index_q <= '0;
          if (pc_q >= program_len_i) begin
            error_o <= ErrIllegal;
            state_q <= StOff;
          end else if (inst_valid_i && !jump_o) begin
            inst_q  <= inst_i;
            state_q <= StDecode;
          end
        end
        StDecode: begin
          index_q <= 4'd1;
          unique case (inst_q[5:0])
            OpHalt:    state_q <= StHalt;
            OpBarrier: state_q <= StBarrier;
            OpAlu:     state_q <= StScalar0;
            OpLoop:    state_q <= StScalar0;
            default:   state_q <= StResolve;
          endcase
        end
        StResolve: begin
          index_q <= index_q + 4'd1;
          if (place_q == 0 && !v0_q && !v1_q) state_q <= StDispatch;
        end
        StDispatch: if (queue_ready_i[unit]) state_q <= StNext;
        StScalar0: state_q <= StScalar1;
        StScalar1: begin
          state_q <= StNext;
          if (inst_q[5:0] == OpLoop) begin
            if (loop_bad_q) begin
              error_o <= ErrIllegal;
              state_q <= StOff;
            end else if (no_count_q) begin
              // skip the body: continue as if its last instruction had ended
              pc_q <= body_end_q;
              skip_q <= 1'b1;
              state_q <= StSettle;
            end else begin
              depth_q <= depth_q + 3'd1;
            end
          end
        end
        StBarrier: if (barrier_idle_q) state_q <= StNext;
        StHalt:
        if (all_idle_q && !decoded_q) begin
          if (clean_q && depth_q == 0) done_o <= 1'b1;
          else error_o <= ErrHalt;
          state_q <= StOff;
        end
        StSettle:   state_q <= StNext;
        StNext: begin
          if (leave) begin
            depth_q <= depth_q - 3'd1;  // and look at the enclosing loop
            state_q <= StSettle;
          end else begin
            jump_o  <= again_q || skip_q;
            pc_q    <= again_q ? top_q.first : after_q;
            skip_q  <= 1'b0;
            state_q <= StFetch;
          end
        end
        default:    state_q <= StOff;
      endcase
    end
  end
endmodule
