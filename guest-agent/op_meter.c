/* SPDX-License-Identifier: MIT */
/* What the mounts of a host count. See op_meter.h. */
#include "op_meter.h"

#include <stdlib.h>

#include "bounds.h"
#include "loop.h"

static void on_stop(void *ctx)
{
	struct op_meter *meter = ctx;

	meter->timed = false;
}

struct op_meter *op_meter_new(struct loop *loop)
{
	struct op_meter *meter = calloc(1, sizeof(*meter));

	if (!meter)
		return NULL;
	meter->stop = loop_timer_new(loop, on_stop, meter);
	if (meter->stop)
		return meter;
	free(meter);
	return NULL;
}

void op_meter_free(struct op_meter *meter)
{
	if (!meter)
		return;
	loop_timer_free(meter->stop);
	free(meter);
}

void op_meter_time(struct op_meter *meter, uint32_t seconds)
{
	meter->timed = true;
	loop_timer_set(meter->stop, (uint64_t)(seconds < COUNT_TIMED_MAX_S ? seconds : COUNT_TIMED_MAX_S) * 1000000);
}
