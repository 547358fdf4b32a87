// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// What fetch, execute and drain of the matrix unit tell each other (docs/rtl.md, "Matrix unit").

package matrix_pkg;

  typedef enum logic [1:0] {
    KindMm,
    KindQk,
    KindPv
  } kind_e;

  // N index of an entry format: codes kept of 16.
  localparam logic [1:0] NDense = 2'd0;
  localparam logic [1:0] NEight = 2'd1;
  localparam logic [1:0] NFour = 2'd2;
  localparam logic [1:0] NTwo = 2'd3;

  // Width index of codes: 0..5 are 2, 3, 4, 5, 6, 8 bits; WidthV4 is the V cache in 4 bits (two row slots a byte).
  localparam logic [2:0] Width4 = 3'd2;
  localparam logic [2:0] Width8 = 3'd5;
  localparam logic [2:0] WidthV4 = 3'd6;

  function automatic logic [3:0] width_bits(logic [2:0] index);
    unique case (index)
      3'd0:    return 4'd2;
      3'd1:    return 4'd3;
      3'd2:    return 4'd4;
      3'd3:    return 4'd5;
      3'd4:    return 4'd6;
      3'd5:    return 4'd8;
      default: return 4'd4;
    endcase
  endfunction

  // Bits of a tile's sums: 8 products of 16 windows.
  localparam int unsigned SumBits = 22;

  // What the adder of a scale operation's DSP takes beside the product and the cascade (W multiplexer, UG579).
  localparam logic [1:0] BaseZero = 2'b00;
  localparam logic [1:0] BaseLast = 2'b01;
  localparam logic [1:0] BaseEntry = 2'b11;

  // Controls of a scale operation, each at the cycle that needs it (scale_control).
  typedef struct packed {
    logic [1:0]      select;  // cycle u: node within each cascade
    logic [1:0]      half;    // u + 1: cascades that the row's sum comes from
    logic            affine;  // u + 2: with mu * A
    logic [1:0]      again;   // u + 2, lanes: with the sum of two operations ago
    logic [1:0][1:0] base;    // u + 3, lanes
    logic [1:0]      write;   // u + 4, lanes
  } scale_t;

  // Replay buffer in beats, scale memory in rows of eight scale beats.
  localparam int unsigned ReplayBeats = 16;
  localparam int unsigned ScaleRows = 8;

  // Where popped words go.
  typedef enum logic [3:0] {
    DestDrop,
    DestTable,
    DestRho,
    DestBias,
    DestSigma,
    DestMu,
    DestCode,   // words offset .. offset + count - 1 of a beat
    DestIndex,  // indices of a beat
    DestKeys8,  // two words for each of key_slots lanes from lane `offset` on: 8-bit codes
    DestKeys4   // one word for each: 4-bit codes
  } dest_e;

  typedef struct packed {
    logic       valid;
    dest_e      dest;
    logic [7:0] offset;  // word, a multiple of 16; or the first lane
    logic [7:0] index;   // replay beat, scale row, or rho row
    logic       done;    // the beat is complete with this pop
  } pop_t;

  // One matrix instruction, the three kinds in one form. Rows (tokens) are n0 x n1.
  typedef struct packed {
    kind_e       kind;
    logic        dual;
    logic        accumulate;
    logic        bias;
    logic [3:0]  wait_mask;
    logic [3:0]  signal_mask;
    logic [15:0] n0;
    logic [9:0]  n1;
    logic [19:0] ab;
    logic [19:0] ab_s0;
    logic [19:0] ab_s1;
    logic [19:0] dst;
    logic [19:0] dst_s0;
    logic [19:0] dst_s1;
  } mop_t;

  // What drain needs to know of a strip.
  typedef struct packed {
    logic [9:0]  stride;   // accumulator entries from pair to pair
    logic [9:0]  rows;     // row beats to drain
    logic [19:0] slots;    // slots that exist
    logic [31:0] base;     // first element of the strip in the output vector
    logic        empty;    // nothing to drain
    logic        op_last;  // last strip of the instruction
  } strip_t;

  // Windows of one set of rows that share one scale operation a row.
  typedef struct packed {
    logic [4:0]  nw;          // windows; 0: an instruction without any
    logic [1:0]  n_index;
    logic [2:0]  width;
    logic        unit_scale;  // sigma = 1
    logic        affine;
    logic [9:0]  row;         // accumulator row of the first output
    logic [19:0] window;      // offset in the activation row
    logic        first;       // overwrite the accumulators
    logic        last;        // last tile of the strip
    logic [5:0]  scale;       // index of the first scale beat
    logic        free_row;    // the scale row is used up
    logic        side0_only;  // only VPUs below Vpus / 2 take part
    strip_t      strip;
  } tile_t;

  // Stages of fetch: fetch_plan works out items, with all lengths in them; fetch_walk turns an item into sections of the stream;
  // fetch_pop takes sections apart into pops.
  typedef enum logic [2:0] {
    ItemTable,   // a word of format bytes
    ItemRho,     // rho, and bias
    ItemEntry,
    ItemPad,     // to the end of a 64-byte beat
    ItemKeys,    // a run of active blocks of K
    ItemValues,  // and of V
    ItemEmpty    // an instruction without keys
  } item_e;

  typedef struct packed {
    item_e       kind;
    strip_t      strip;
    logic        half;          // rho memory
    logic        bias;          // bias comes behind rho
    logic        short_row;     // the last row of rho has two slots or one
    logic [7:0]  format;
    logic        four;          // KV cache in 4 bits
    logic [9:0]  beats;         // rows of rho; beats down the strip; row beats of a window of V
    logic [2:0]  groups;
    logic [4:0]  windows;       // of each tile but the last of a beat; of a head
    logic [4:0]  tail_windows;
    logic [2:0]  chunks;        // scale rows
    logic [5:0]  scales;        // scale beats
    logic [7:0]  sigma_words;   // of the last scale row
    logic [7:0]  mu_words;
    logic [7:0]  words;         // of codes of every beat but the last down the strip
    logic [7:0]  tail_words;
    logic [7:0]  tail_vpus;     // VPUs that take part in the last one
    logic [31:0] unit;          // first window of the entry; first slot (K) or window (V) of the run
    logic [31:0] count;         // slots or windows of the run
    logic        first;         // overwrite the accumulators
    logic        last;          // last entry of the strip; last run
  } item_t;

  // Neighbouring words of the stream, up to 255, and what their first pop takes of the room that there is.
  typedef struct packed {
    logic [7:0] words;
    logic       more;        // more than 16
    logic       is_k;
    dest_e      dest;
    logic [7:0] offset;
    logic [7:0] index;
    logic       done;        // with the last pop
    logic       pad;         // as many words as are missing to a beat of 64 bytes
    logic [4:0] beats;       // of the replay buffer
    logic       row;         // a scale row
    logic       rho;         // rho and bias of a strip
    logic       tile_start;  // the first pop begins this tile
    tile_t      tile;
  } section_t;

endpackage
