// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Sequencer: registers, loops, operand resolution and dispatch (docs/machine.md). One instruction at a time: an
// instruction of another unit takes its operands + 4 cycles, ALU and LOOP 4, and units run from queues, so this is
// hidden.

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
    StFetch,
    StDecode,
    StResolve,
    StDispatch,
    StScalar0,
    StScalar1,
    StScalar2,
    StBarrier,
    StHalt,
    StNext
  } state_e;
  state_e state_q;

  logic [31:0] regs_q[Registers];
  logic [511:0] inst_q;
  logic [31:0] pc_q;
  logic [MaxOperands-1:0][39:0] res_q;

  alu_t alu;
  loop_t lp;
  assign alu = alu_t'(inst_q);
  assign lp  = loop_t'(inst_q);

  // --- operands: select, multiply, add; one enters a cycle -------------------------------------------------------
  logic [3:0] index_q, index1_q, index2_q;
  logic v1_q, v2_q;
  operand_t operand;
  logic [39:0] base1_q, base2_q, reg1_q, stride1_q, product_q;
  assign operand = operand_of(inst_q, 32'(index_q));
  always_ff @(posedge clk_i) begin
    v1_q      <= state_q == StResolve && operand.valid;
    index1_q  <= index_q;
    base1_q   <= operand.base;
    reg1_q    <= 40'(signed'(regs_q[operand.register_id]));
    stride1_q <= operand.stride;
    v2_q      <= v1_q;
    index2_q  <= index1_q;
    base2_q   <= base1_q;
    product_q <= reg1_q * stride1_q;
    if (v2_q) res_q[index2_q] <= base2_q + product_q;
  end

  // --- loops -----------------------------------------------------------------------------------------------------
  typedef struct packed {
    logic [31:0] first;
    logic [31:0] last;
    logic [31:0] left;   // iterations after this one
    logic [4:0]  rd;
  } loop_entry_t;
  loop_entry_t loops_q[LoopDepth];
  loop_entry_t top;
  logic [2:0] depth_q;
  assign top = loops_q[2'(depth_q-3'd1)];

  // --- scalar arithmetic -----------------------------------------------------------------------------------------
  logic signed [31:0] a_q, b_q, result;
  logic [31:0] mul_q;
  always_comb begin
    unique case (alu_op_e'(alu.op))
      AluOpAdd: result = a_q + b_q;
      AluOpSub: result = a_q - b_q;
      AluOpMul: result = mul_q;
      AluOpAnd: result = a_q & b_q;
      AluOpShl: result = a_q << b_q[4:0];
      AluOpShr: result = a_q >>> b_q[4:0];
      AluOpMin: result = a_q < b_q ? a_q : b_q;
      AluOpMax: result = a_q > b_q ? a_q : b_q;
      default:  result = '0;
    endcase
  end

  unit_e unit;
  logic  loop_bad;
  assign unit = unit_of(inst_q[5:0]);
  assign loop_bad = lp.body == 0 || depth_q == 3'(LoopDepth) || (depth_q != 0 && pc_q + 32'(lp.body) > top.last);

  always_comb begin
    queue_valid_o = '0;
    if (state_q == StDispatch) queue_valid_o[unit] = 1'b1;
    queue_data_o.inst = inst_q;
    queue_data_o.res  = res_q;
  end

  logic at_end, again;
  assign at_end = depth_q != 0 && pc_q == top.last;
  assign again = at_end && top.left != 0;
  assign inst_ready_o = state_q == StFetch;
  assign fetch_stop_o = state_q == StHalt || error_o != 0;
  assign pc_o = pc_q;
  assign busy_o = state_q != StOff;
  assign stalled_o = (state_q == StDispatch && !queue_ready_i[unit]) || state_q == StBarrier;

  always_ff @(posedge clk_i) begin
    done_o  <= 1'b0;
    error_o <= '0;
    jump_o  <= 1'b0;
    if (!rst_ni) begin
      state_q <= StOff;
      depth_q <= '0;
    end else begin
      unique case (state_q)
        StOff:
        if (start_i) begin
          for (int i = 0; i < Registers; i++) regs_q[i] <= '0;
          regs_q[RegPos]    <= pos_i;
          regs_q[RegNtok]   <= ntok_i;
          regs_q[RegKvlen]  <= pos_i + ntok_i;
          regs_q[RegCore]   <= core_i;
          regs_q[RegNlog]   <= nlog_i;
          regs_q[RegMasken] <= masken_i;
          pc_q <= '0;
          depth_q <= '0;
          state_q <= StFetch;
        end
        StFetch:
        if (pc_q >= program_len_i) begin
          error_o <= ErrIllegal;
          state_q <= StOff;
        end else if (inst_valid_i && !jump_o) begin
          inst_q  <= inst_i;
          state_q <= StDecode;
        end
        StDecode: begin
          index_q <= '0;
          a_q <= regs_q[alu.ra];
          b_q <= inst_q[5:0] == OpLoop ? 32'(lp.count) + regs_q[lp.count_r] : regs_q[alu.rb] + alu.imm;
          if (!legal(inst_q)) begin
            error_o <= ErrIllegal;
            state_q <= StOff;
          end else begin
            unique case (inst_q[5:0])
              OpHalt:    state_q <= StHalt;
              OpBarrier: state_q <= StBarrier;
              OpAlu:     state_q <= StScalar0;
              OpLoop:    state_q <= StScalar0;
              default:   state_q <= StResolve;
            endcase
          end
        end
        StResolve: begin
          if (operand.valid) index_q <= index_q + 4'd1;
          else if (!v1_q && !v2_q) state_q <= StDispatch;
        end
        StDispatch: if (queue_ready_i[unit]) state_q <= StNext;
        StScalar0: begin
          mul_q   <= a_q * b_q;
          state_q <= StScalar1;
        end
        StScalar1: begin
          state_q <= StNext;
          if (inst_q[5:0] == OpAlu) begin
            if (alu.rd != RegZero) regs_q[alu.rd] <= result;
          end else if (loop_bad) begin
            error_o <= ErrIllegal;
            state_q <= StOff;
          end else if (b_q <= 0) begin
            // skip the body: continue as if its last instruction had ended
            pc_q <= pc_q + 32'(lp.body);
            state_q <= StScalar2;
          end else begin
            loops_q[depth_q[1:0]] <= '{
                first: pc_q + 32'd1,
                last: pc_q + 32'(lp.body),
                left: b_q - 32'd1,
                rd: lp.rd
            };
            depth_q <= depth_q + 3'd1;
            if (lp.rd != RegZero) regs_q[lp.rd] <= '0;
          end
        end
        StScalar2: begin  // behind a skipped body: leave or repeat loops that end here, else go on there
          if (again) begin
            state_q <= StNext;
          end else if (at_end) begin
            depth_q <= depth_q - 3'd1;
          end else begin
            jump_o <= 1'b1;
            jump_pc_o <= pc_q + 32'd1;
            pc_q <= pc_q + 32'd1;
            state_q <= StFetch;
          end
        end
        StBarrier: if (&unit_idle_i[3:0]) state_q <= StNext;
        StHalt:
        if (&unit_idle_i) begin
          if (clean_i && depth_q == 0) done_o <= 1'b1;
          else error_o <= ErrHalt;
          state_q <= StOff;
        end
        StNext: begin
          if (again) begin
            if (top.rd != RegZero) regs_q[top.rd] <= regs_q[top.rd] + 32'd1;
            loops_q[2'(depth_q-3'd1)].left <= top.left - 32'd1;
            jump_o <= 1'b1;
            jump_pc_o <= top.first;
            pc_q <= top.first;
            state_q <= StFetch;
          end else if (at_end) begin
            depth_q <= depth_q - 3'd1;  // and look at the enclosing loop
          end else begin
            pc_q <= pc_q + 32'd1;
            state_q <= StFetch;
          end
        end
        default: state_q <= StOff;
      endcase
    end
  end
endmodule
