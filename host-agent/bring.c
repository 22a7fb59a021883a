/* SPDX-License-Identifier: MIT */
/*
 * The line of sh. See bring.h.
 *
 * Theory of operation. The login shell may be any: it gets one word it knows (exec), one program (sh) and one text in
 * single quotes, in which no shell finds anything to change: there is no newline, no ! (csh), no \\ and no \' (fish),
 * no single quote. What is in it is POSIX sh, and -O of test, which each sh has.
 *
 *	is PROGRAM	is it the one: does it run here, and say so? This is what finds noexec, another processor, a
 *			file a crash emptied, and another version, all at once
 *	mine FOLDER	is it a folder of this user's own, and no link? (Anybody may make /tmp/homeport-UID.)
 *	has FOLDER	runs the build that was brought there before
 *
 * A program started costs milliseconds on a small machine, so where the agent is there nothing is started but that:
 * the kernel (Linux 6.1) says the architecture without uname.
 *
 * In the order of what is most likely: the installed one; the one in the cache; then the folders one after the other,
 * each tried with an empty program, which takes no room, before 2 MB are asked for. What is received goes to a file
 * with a name of its own and is renamed when it is whole and runs: nobody ever finds half of it. If the disk fills up,
 * the rest is read all the same, so that the next folder's begins where it should.
 *
 * Each line begins with a newline, in case what a shell printed before does not end in one; and is put together by
 * printf, so that one who prints the command instead of running it says none of them.
 */
#include "bring.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest_builds.h"

#define MARK "homeport-bring: "

static const char *const words[] = {
	[BRING_ATTACH] = "attach",     [BRING_SEND] = "send",         [BRING_OTHER] = "other",
	[BRING_NO_BUILD] = "no-build", [BRING_NO_PLACE] = "no-place",
};
static_assert(sizeof(words) / sizeof(words[0]) == BRING_WORD_COUNT, "each word is written somehow");

/* Behind the table of builds, and v and i, the version wanted and the words for homeport-guest. */
static const char script[] =
	"PATH=\"$PATH:/usr/local/bin:$HOME/.local/bin\"; "
	"say() { printf \"\\n%s: %s\\n\" homeport-bring \"$*\"; }; "
	"is() { r=$(\"$1\" --version </dev/null 2>/dev/null); "
	"case \"$r\" in \"$v\" | \"$v \"*) return 0;; esac; return 1; }; "
	"go() { say attach; exec \"$1\" $i; }; "
	"command -v homeport-guest >/dev/null && is homeport-guest && go homeport-guest; "
	"[ \"$b\" ] || { say no-build \"$s\"; exit 0; }; "
	"[ \"$r\" ] && say other \"$r\"; "
	"mine() { [ -h \"$1\" ] && return 1; [ -O \"$1\" ]; }; "
	"has() { g=$1/$b/homeport-guest; [ -x \"$g\" ] && mine \"$1\" && is \"$g\" && go \"$g\"; }; "
	"c=${XDG_CACHE_HOME:-$HOME/.cache}; has \"$c/homeport\"; "
	"u=$(id -u); "
	"set -- \"$c/homeport\" \"${XDG_RUNTIME_DIR:-/run/user/$u}/homeport-guest\" \"/tmp/homeport-$u\"; "
	"for d; do has \"$d\"; done; "
	"umask 077; [ -d \"$c\" ] || mkdir -p \"$c\" 2>/dev/null; w=; "
	"for d; do f=$d/$b/.$$; "
	"if e=$({ { [ -d \"$d\" ] || mkdir \"$d\"; } && "
	"{ mine \"$d\" || { echo : it belongs to another user; false; }; } && "
	"{ [ -d \"$d/$b\" ] || mkdir \"$d/$b\"; } && : >\"$f\" && chmod 700 \"$f\"; } 2>&1); "
	"then if \"$f\" 2>/dev/null; then say send \"$a\"; "
	"e=$({ head -c $n | { cat >\"$f\" || { cat >/dev/null; false; }; }; } 2>&1) && "
	"[ $(wc -c <\"$f\") -eq $n ] && is \"$f\" && mv \"$f\" \"$d/$b/homeport-guest\" && "
	"go \"$d/$b/homeport-guest\"; [ \"$e\" ] || e=\": it does not run there\"; "
	"else e=\": nothing may be executed there\"; fi; rm -f \"$f\"; rmdir \"$d/$b\" \"$d\" 2>/dev/null; fi; "
	"w=\"$w, $d: ${e##*: }\"; done; "
	"say no-place \"${w#, }\"";

#define PLAIN "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789./_+-"

bool bring_word_is_plain(const char *text)
{
	return text[0] != '\0' && text[strspn(text, PLAIN)] == '\0';
}

char *bring_command(const struct guest_builds *builds, const char *words_of_it)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = words_of_it[strspn(words_of_it, PLAIN " ")] == '\0' ? open_memstream(&text, &size) : NULL;

	if (!out)
		return NULL;
	fprintf(out,
		"exec sh -c 'i=\"%s\"; v=\"homeport-guest %s\"; k=/proc/sys/kernel/arch; [ -r $k ] && read -r s <$k && "
		"s=\"Linux $s\" || s=$(uname -sm); b=; r=; case \"$s\" in ",
		words_of_it, HOMEPORT_VERSION);
	for (size_t i = 0; i < builds->count; i++) {
		const struct guest_build *build = &builds->builds[i];

		fprintf(out, "\"Linux %s\") a=%s b=%s n=%" PRIu64 ";; ", build->arch, build->arch, build->id,
			build->size);
	}
	fprintf(out, "esac; [ \"$b\" ] && v=\"$v build $b\"; %s'", script);
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}

bool bring_parse(const char *line, enum bring_word *word, const char **text)
{
	size_t len = strlen(MARK);

	if (strncmp(line, MARK, len) != 0)
		return false;
	line += len;
	len = strcspn(line, " ");
	for (unsigned i = 0; i < BRING_WORD_COUNT; i++) {
		if (strlen(words[i]) != len || strncmp(line, words[i], len) != 0)
			continue;
		*word = (enum bring_word)i;
		*text = line[len] ? line + len + 1 : line + len;
		return true;
	}
	return false;
}
