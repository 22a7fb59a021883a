/* SPDX-License-Identifier: MIT */
/* By the assembler, which reads from where make runs: the C of this house has no #embed yet. See embedded.h. */
#include "embedded.h"

#define EMBED(name, file)                       \
	__asm__(".pushsection .rodata\n"        \
		".global " name "\n" name ":\n" \
		".incbin \"" file "\"\n"        \
		".byte 0\n"                     \
		".popsection\n")

EMBED("embedded_unit", "systemd/homeport-guest@.service");
EMBED("embedded_hardened", "systemd/homeport-guest-hardened.conf");
EMBED("embedded_helper_socket", "systemd/homeport-helper.socket");
EMBED("embedded_helper_unit", "systemd/homeport-helper@.service");
EMBED("embedded_manual", "guest-agent/homeport-guest.8");
