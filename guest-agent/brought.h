/* SPDX-License-Identifier: MIT */
/* brought: builds of homeport-guest that hosts brought here. FOLDER/BUILD/homeport-guest, see the host's bring.c. */
#ifndef HOMEPORT_BROUGHT_H
#define HOMEPORT_BROUGHT_H

/*
 * For serve, when it starts: where this program is one that was brought, removes the others of its folder that no
 * agent runs and nobody used for a day, and what is left of one whose connection was lost on the way.
 */
void brought_sweep(void);

#endif
