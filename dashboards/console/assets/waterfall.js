// A trace's spans as rows. Places are computed in Python; data is only ever interpolated as text.
export default {
  template: `
    <div class="waterfall" role="tree" aria-label="Spans of the trace">
      <div class="wf-axis" aria-hidden="true">
        <div class="wf-names">{{ started }}</div>
        <div class="wf-lane">
          <span v-for="tick in ticks" class="wf-tick" :class="{ first: tick.left < 4, last: tick.left > 92 }" :style="{ left: tick.left + '%' }">{{ tick.label }}</span>
        </div>
      </div>
      <div v-for="(row, index) in rows" :key="index" class="wf-row" role="treeitem" tabindex="0"
           :class="{ chosen: index === chosen, error: row.error }" :aria-level="row.depth + 1"
           :aria-selected="index === chosen" @click="pick(index)" @keydown.enter="pick(index)"
           @keydown.down.prevent="move($event, 1)" @keydown.up.prevent="move($event, -1)">
        <div class="wf-names" :style="{ paddingLeft: 8 + 14 * Math.min(row.depth, 16) + 'px' }">
          <span class="wf-dot" :style="{ background: row.colour }"></span>
          <span class="wf-service">{{ row.service }}</span>
          <span class="wf-name">{{ row.name }}</span>
          <span class="tag kind">{{ row.kind }}</span>
          <span v-if="row.error" class="tag bad">error</span>
          <span v-if="row.note" class="tag warn" :title="row.hint">{{ row.note }}</span>
        </div>
        <div class="wf-lane">
          <span v-for="tick in ticks" class="wf-grid" :style="{ left: tick.left + '%' }"></span>
          <span class="wf-bar" :style="{ left: row.left + '%', width: row.width + '%', background: row.colour }"></span>
          <span class="wf-duration" :style="beside(row)">{{ row.duration }}</span>
        </div>
      </div>
    </div>`,
  props: { rows: Array, ticks: Array, start: Number },
  data: () => ({ chosen: -1 }),
  computed: {
    started() {
      return this.start ? "started " + window.remora.moment(this.start) : "";
    },
  },
  methods: {
    pick(index) {
      this.chosen = index;
      this.$emit("pick", { index });
    },
    move(event, by) {
      const row = by > 0 ? event.currentTarget.nextElementSibling : event.currentTarget.previousElementSibling;
      if (row?.classList.contains("wf-row")) row.focus();
    },
    beside(row) {
      // The duration stands right of its bar, or left of it where the right has no room, or in it.
      const end = row.left + row.width;
      if (end < 88) return { left: `calc(${end}% + 6px)` };
      if (row.left > 12) return { right: `calc(${100 - row.left}% + 6px)` };
      return { right: `calc(${100 - end}% + 6px)`, color: "#fff", textShadow: "0 0 3px #000c" };
    },
  },
};
