/* SPDX-License-Identifier: MIT */
/* Edits of any text: a byte for the change, then the file. What is edited is a configuration, and is edited back. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config_edit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct by_hand_change change = {
		.words = (char *)"w",
		.mount = {.location = {.path = (char *)"/home/me/src"}, .mount_point = (char *)"/src", .mask = true},
		.rule = {.guest_port = 80, .host_port = 8080, .is_static = true, .proto = RULE_PROTO_TCP},
	};
	struct config_text in = {.file = "f", .home = "/home/me"};
	char why[CONFIG_EDIT_WHY_MAX];

	if (size == 0 || size > 65536)
		return 0;
	change.kind = data[0] % BY_HAND_KINDS;
	in.size = size - 1;
	in.text = malloc(size);
	memcpy(in.text, data + 1, in.size);
	if (config_edit(&in, &change, why) == 0 && config_edit(&in, &change, why) == 0)
		in.text[0] = in.size > 0 ? in.text[0] : ' ';
	free(in.text);
	return 0;
}
