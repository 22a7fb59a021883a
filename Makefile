# SPDX-License-Identifier: MIT
#
# One Makefile, no configure step. `make help` lists what it does.
#
# Sources are found by wildcard: a new common/x.c, host-agent/x.c, guest-agent/x.c, tests/unit/test_x.c or
# tests/fuzz/fuzz_x.c needs no line here. Everything built lies under $(BUILD), in flavours that differ by flags only:
#
#   $(BUILD)/rel    what is shipped              -> $(BUILD)/homeport, $(BUILD)/homeport-guest
#   $(BUILD)/san    ASan and UBSan               -> $(BUILD)/unit/test_*, $(BUILD)/replay/fuzz_*, `make san`
#   $(BUILD)/fuzz   clang, libFuzzer, sanitizers -> `make fuzz TARGET=x SECONDS=60`
#   $(BUILD)/ARCH   the guest, for another ARCH  -> $(BUILD)/guests/ARCH/homeport-guest, `make guest-all`
#
# A unit test or fuzz target named after x is linked with the archive of the folder that holds x.c. Where the name does
# not say it, a line here does: UNIT_SIDE_<name> or FUZZ_SIDE_<name> = common | host-agent | guest-agent.

VERSION := 0.1.0

BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
TARGET  ?=
SECONDS ?= 60
ARGS    ?=
ifeq ($(origin CC),default)
CC := gcc
endif
FUZZ_CC ?= clang
PYTHON  ?= /usr/bin/python3

# One short line a step; V=1 shows the commands.
V ?=
Q := $(if $(V),,@)
step = $(if $(V),,@printf '  %-5s %s\n' $1 $@)

.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := all

# ---------------------------------------------------------------------------------------------------------- flags

WARN := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wpointer-arith -Wformat=2 \
	-Wundef -Wwrite-strings -Wno-unused-parameter -Wno-missing-field-initializers
CPP  := -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DHOMEPORT_VERSION='"$(VERSION)"'
BASE := -std=gnu17 -g -pthread -fPIE $(WARN) $(CPP)

ARCH := $(shell uname -m)
# The other architectures of which a guest can be built here (tests/deps-cross.sh).
CROSS := $(filter-out $(ARCH),aarch64)
HARDEN_x86_64 := -fcf-protection
HARDEN_aarch64 := -mbranch-protection=standard
HARDEN := -fstack-protector-strong -fstack-clash-protection -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2

# What is shipped does not know in which folder it was built: two builds of one source are the same, byte for byte, and
# so is their build id. (-ffile-prefix-map would move gcov's counters too.)
ANYWHERE := -fdebug-prefix-map=$(CURDIR)=.

SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
# The build id is what tells two builds of one version apart (common/build_id.h).
LD_RELRO := -Wl,-z,relro,-z,now -Wl,--build-id=sha1

# EXTRA_CFLAGS and EXTRA_LDFLAGS are for the caller (`make coverage` uses them).
CFLAGS_rel  := $(BASE) -O2 $(ANYWHERE) $(HARDEN) $(HARDEN_$(ARCH)) $(EXTRA_CFLAGS)
CFLAGS_san  := $(BASE) -O1 $(SANITIZE) $(EXTRA_CFLAGS)
CFLAGS_fuzz := $(BASE) -O1 $(SANITIZE) -fsanitize=fuzzer-no-link
CC_rel  := $(CC)
CC_san  := $(CC)
CC_fuzz := $(FUZZ_CC)
# Of the libraries only headers and archives are used, out of a folder.
cross_root = $(BUILD)/cross/$1/root
$(foreach a,$(CROSS),$(eval CC_$a := $a-linux-gnu-gcc)$(eval CFLAGS_$a := $(BASE) -O2 $(ANYWHERE) $(HARDEN) \
	$(HARDEN_$a) 	-isystem $(call cross_root,$a)/usr/include/fuse3 -isystem $(call cross_root,$a)/usr/include))

# An agent sees common/ and its own folder, never the other's.
FUSE_CFLAGS := $(shell pkg-config --cflags fuse3 2>/dev/null)
INC_common      := -iquote common
INC_host-agent  := -iquote common -iquote host-agent
INC_guest-agent := -iquote common -iquote guest-agent -DFUSE_USE_VERSION=314 $(FUSE_CFLAGS)

LIBS_common      := -levent_core -lssl -lcrypto
LIBS_host-agent  := $(shell pkg-config --libs libssh libssl libcrypto libevent_core yaml-0.1 libseccomp 2>/dev/null)
LIBS_guest-agent := $(shell pkg-config --libs fuse3 libevent_core libssl libcrypto 2>/dev/null)
# The release binary of the guest is static. libfuse's use of dlopen (its module option, never used here) makes the
# linker warn; that warning is expected.
LIBS_guest_static := -l:libfuse3.a -l:libevent_core.a -l:libssl.a -l:libcrypto.a -ldl

# -------------------------------------------------------------------------------------------------------- sources

# Sorted: their order is the archives', and so the programs', and that of wildcard is the locale's.
SRC_common      := $(sort $(wildcard common/*.c))
SRC_host-agent  := $(sort $(filter-out host-agent/main.c,$(wildcard host-agent/*.c)))
SRC_guest-agent := $(sort $(filter-out guest-agent/main.c,$(wildcard guest-agent/*.c)))
UNIT_SRC   := $(wildcard tests/unit/test_*.c)
FUZZ_SRC   := $(wildcard tests/fuzz/fuzz_*.c)
HELPER_SRC := $(filter-out $(UNIT_SRC) $(FUZZ_SRC) tests/fuzz/replay.c,$(wildcard tests/unit/*.c tests/fuzz/*.c))

UNITS := $(patsubst tests/unit/test_%.c,%,$(UNIT_SRC))
FUZZERS := $(patsubst tests/fuzz/fuzz_%.c,%,$(FUZZ_SRC))
UNIT_BINS := $(UNITS:%=$(BUILD)/unit/test_%)
REPLAY_BINS := $(FUZZERS:%=$(BUILD)/replay/fuzz_%)

home_of = $(firstword $(foreach d,common host-agent guest-agent,$(if $(wildcard $d/$1.c),$d)) common)
UNIT_SIDE_bulk := common
UNIT_SIDE_forward_world := host-agent
UNIT_SIDE_forward_socket := host-agent
UNIT_SIDE_reverse_guest := guest-agent
unit_side = $(or $(UNIT_SIDE_$1),$(call home_of,$1))
fuzz_side = $(or $(FUZZ_SIDE_$1),$(call home_of,$1))

POSIX_SRC := $(filter-out tests/posix/hpfsx.c,$(wildcard tests/posix/*.c))

# What the host brings to a guest: stripped, by the architecture's name as `uname -m` says it.
guest_of = $(BUILD)/guests/$1/homeport-guest
GUESTS_HERE := $(if $(wildcard guest-agent/main.c),$(call guest_of,$(ARCH)))

PROGRAMS := $(if $(wildcard host-agent/main.c),homeport) $(if $(wildcard guest-agent/main.c),homeport-guest)

# -------------------------------------------------------------------------------------------------------- flavours

# $(call archives,flavour,folder): the archive of an agent's folder stands before the one of common/.
archives = $(if $(filter-out common,$2),$(BUILD)/$1/lib$2.a) $(BUILD)/$1/libcommon.a
test_archives = $(BUILD)/$1/libtest.a $(call archives,$1,$2)

define flavour
$(BUILD)/$1/%.o: %.c Makefile
	@mkdir -p $$(@D)
	$$(call step,CC)
	$$(Q)$$(CC_$1) $$(CFLAGS_$1) $$(or $$(SIDE_FLAGS),$$(INC_$$(firstword $$(subst /, ,$$<)))) -MMD -MP \
		-c -o $$@ $$<

$(foreach d,common host-agent guest-agent,$(eval $(BUILD)/$1/lib$d.a: $(SRC_$d:%.c=$(BUILD)/$1/%.o)))
$(BUILD)/$1/libtest.a: $(HELPER_SRC:%.c=$(BUILD)/$1/%.o)
$(BUILD)/$1/lib%.a: Makefile
	@mkdir -p $$(@D)
	@rm -f $$@
	$$(call step,AR)
	$$(Q)ar rcs $$@ $$(filter %.o,$$^)
endef
$(foreach f,rel san fuzz $(CROSS),$(eval $(call flavour,$f)))
# What the guest's program has in it, to install itself.
$(foreach f,rel san fuzz $(CROSS),$(eval $(BUILD)/$f/guest-agent/embedded.o: systemd/homeport-guest@.service \
	systemd/homeport-guest-hardened.conf systemd/homeport-helper.socket systemd/homeport-helper@.service \
	guest-agent/homeport-guest.8))

TEST_FLAGS = -Itests/unit -Itests/fuzz -Wno-missing-prototypes
$(foreach f,san fuzz,$(foreach s,$(HELPER_SRC),\
	$(eval $(BUILD)/$f/$(s:.c=.o): SIDE_FLAGS = $(INC_$(call unit_side,$(basename $(notdir $s)))) $(TEST_FLAGS))))

define unit_rule
$(BUILD)/san/tests/unit/test_$1.o: SIDE_FLAGS = $(INC_$(call unit_side,$1)) $(TEST_FLAGS)
$(BUILD)/unit/test_$1: $(BUILD)/san/tests/unit/test_$1.o $(call test_archives,san,$(call unit_side,$1))
	@mkdir -p $$(@D)
	$$(call step,LD)
	$$(Q)$$(CC_san) $$(CFLAGS_san) -pie -o $$@ $$^ $$(LIBS_$(call unit_side,$1)) $$(LIBS_common) -lcmocka \
		$$(UNIT_WRAP_$1:%=-Wl,--wrap=%) $$(EXTRA_LDFLAGS)
endef
# Functions that a test has instead of (as __wrap_…) and behind (as __real_…) those of the program.
UNIT_WRAP_fuse_lock := sftp_client_begin sftp_client_end
$(foreach u,$(UNITS),$(eval $(call unit_rule,$u)))

define fuzz_rule
$(foreach f,san fuzz,$(eval $(BUILD)/$f/tests/fuzz/fuzz_$1.o: SIDE_FLAGS = $(INC_$(call fuzz_side,$1)) $(TEST_FLAGS)))
$(BUILD)/replay/fuzz_$1: $(BUILD)/san/tests/fuzz/fuzz_$1.o $(BUILD)/san/tests/fuzz/replay.o \
		$(call test_archives,san,$(call fuzz_side,$1))
	@mkdir -p $$(@D)
	$$(call step,LD)
	$$(Q)$$(CC_san) $$(CFLAGS_san) -pie -o $$@ $$^ $$(LIBS_$(call fuzz_side,$1)) $$(LIBS_common) $$(EXTRA_LDFLAGS)
$(BUILD)/fuzz/fuzz_$1: $(BUILD)/fuzz/tests/fuzz/fuzz_$1.o $(call test_archives,fuzz,$(call fuzz_side,$1))
	$$(call step,LD)
	$$(Q)$$(CC_fuzz) $$(CFLAGS_fuzz) -fsanitize=fuzzer -pie -o $$@ $$^ $$(LIBS_$(call fuzz_side,$1)) $$(LIBS_common)
endef
$(foreach t,$(FUZZERS),$(eval $(call fuzz_rule,$t)))
$(BUILD)/san/tests/fuzz/replay.o: SIDE_FLAGS = $(INC_common) $(TEST_FLAGS)

# -------------------------------------------------------------------------------------------------------- programs

.PHONY: all guest-all san deps deps-demo deps-cross deps-long deps-vm test test-unit test-e2e test-fuzz test-long \
	vm-test tests-built posix fuzz coverage mutants demo demo-shell bench docs-picture docs-plots lint format \
	install uninstall deb clean help always

all: $(PROGRAMS:%=$(BUILD)/%) $(GUESTS_HERE)

guest-all: all $(foreach a,$(CROSS),$(call guest_of,$a)) ## the guest for other architectures too (deps-cross)

san: $(PROGRAMS:%=$(BUILD)/san/%)

# The host's program finds the guests' builds and the schema from the folder it is in, so that all can be moved as one.
# Where the folders below make these other ways than the usual ones, the two files that go them are compiled again.
way = $(shell realpath -ms --relative-to=$(bindir) $1)
WAYS = -DHOMEPORT_LIBEXEC='"$(call way,$(libexecdir)/homeport)"' \
	-DHOMEPORT_SCHEMA='"$(call way,$(datadir)/homeport/homeport.schema.json)"'
WAY_OBJECTS := $(patsubst %,$(BUILD)/rel/host-agent/%.o,guest_builds cmd_config)
$(WAY_OBJECTS): SIDE_FLAGS = $(INC_host-agent) $(WAYS)
$(WAY_OBJECTS): $(BUILD)/ways
$(BUILD)/ways: always
	@mkdir -p $(@D)
	@echo "$(WAYS)" | cmp -s - $@ || echo "$(WAYS)" >$@
always:

$(BUILD)/homeport: $(BUILD)/rel/host-agent/main.o $(call archives,rel,host-agent)
	$(call step,LD)
	$(Q)$(CC) $(CFLAGS_rel) -pie $(LD_RELRO) -o $@ $^ $(LIBS_host-agent) $(EXTRA_LDFLAGS)

$(BUILD)/homeport-guest: $(BUILD)/rel/guest-agent/main.o $(call archives,rel,guest-agent)
	$(call step,LD)
	$(Q)$(CC) $(CFLAGS_rel) -static-pie $(LD_RELRO) -o $@ $^ $(LIBS_guest_static) $(EXTRA_LDFLAGS)

$(call guest_of,$(ARCH)): $(BUILD)/homeport-guest
	@mkdir -p $(@D)
	$(call step,STRIP)
	$(Q)strip -o $@ $<

define cross_rule
$(BUILD)/$1/homeport-guest: $(BUILD)/$1/guest-agent/main.o $(call archives,$1,guest-agent)
	$$(call step,LD)
	$$(Q)$$(CC_$1) $$(CFLAGS_$1) -static-pie $$(LD_RELRO) -o $$@ $$^ \
		-L$(call cross_root,$1)/usr/lib/$1-linux-gnu $$(LIBS_guest_static)
$(call guest_of,$1): $(BUILD)/$1/homeport-guest
	@mkdir -p $$(@D)
	$$(call step,STRIP)
	$$(Q)$1-linux-gnu-strip -o $$@ $$<
endef
$(foreach a,$(CROSS),$(eval $(call cross_rule,$a)))

$(BUILD)/san/homeport: $(BUILD)/san/host-agent/main.o $(call archives,san,host-agent)
	$(call step,LD)
	$(Q)$(CC) $(CFLAGS_san) -pie -o $@ $^ $(LIBS_host-agent) $(EXTRA_LDFLAGS)

$(BUILD)/san/homeport-guest: $(BUILD)/san/guest-agent/main.o $(call archives,san,guest-agent)
	$(call step,LD)
	$(Q)$(CC) $(CFLAGS_san) -pie -o $@ $^ $(LIBS_guest-agent) $(EXTRA_LDFLAGS)

# What system calls do, told line by line: the same program on a local file system and on the mount.
CONFORM := $(BUILD)/posix/conform
# Random operations on a file, held against a model of it.
HPFSX := $(BUILD)/posix/hpfsx
$(POSIX_SRC:%.c=$(BUILD)/rel/%.o): SIDE_FLAGS = -Wno-unused-result
$(CONFORM): $(POSIX_SRC:%.c=$(BUILD)/rel/%.o)
$(HPFSX): $(BUILD)/rel/tests/posix/hpfsx.o
posix: $(CONFORM) $(HPFSX)

$(CONFORM) $(HPFSX):
	@mkdir -p $(@D)
	$(call step,LD)
	$(Q)$(CC) $(CFLAGS_rel) -pie $(LD_RELRO) -o $@ $^

# ----------------------------------------------------------------------------------------------------------- tests

deps: ## install what building and testing need (Debian, Ubuntu)
	@tests/deps.sh

deps-cross: ## a compiler and libraries for the guest of other architectures (Debian)
	@$(foreach a,$(CROSS),tests/deps-cross.sh $a $(BUILD)/cross/$a;)

deps-demo:
	@tests/deps.sh demo

deps-long:
	@tests/deps.sh long

deps-vm: ## QEMU, and what makes an image for it (Debian)
	@tests/deps.sh vm

# Flags asked of pkg-config are read when make starts, so what follows `deps` runs in a second make; on all processors
# unless the first was told how many.
again = $(MAKE) --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))

test: deps ## build, then unit, fuzz corpus and end-to-end tests
	@+$(again) tests-built
	@BUILD=$(BUILD) PYTHON=$(PYTHON) tests/run.sh unit fuzz e2e

tests-built: all posix $(UNIT_BINS) $(REPLAY_BINS)
	@:

test-unit: $(UNIT_BINS) ## unit tests alone
	@BUILD=$(BUILD) tests/run.sh unit

test-fuzz: $(REPLAY_BINS) ## replay the committed fuzz corpora alone
	@BUILD=$(BUILD) tests/run.sh fuzz

test-e2e: all posix ## end-to-end tests alone; ARGS="-k subject" picks some
	@BUILD=$(BUILD) PYTHON=$(PYTHON) tests/run.sh e2e $(ARGS)

test-long: deps-long deps-vm ## everything, with the long end-to-end tests and the VMs
	@+$(again) tests-built
	@+$(again) deb
	@BUILD=$(BUILD) PYTHON=$(PYTHON) HOMEPORT_TEST_LONG=1 tests/run.sh unit fuzz vm e2e

vm-test: deps-vm ## two VMs with systemd: packages, services, reboots, sleep, shutdown; ARGS=-x
	@+$(again) deb
	@BUILD=$(BUILD) PYTHON=$(PYTHON) tests/run.sh vm $(ARGS)

fuzz: ## fuzz one parser: make fuzz TARGET=session SECONDS=60
	@test -n "$(filter $(TARGET),$(FUZZERS))" || { echo "make fuzz: TARGET= is one of: $(FUZZERS)" >&2; exit 2; }
	@+$(again) $(BUILD)/fuzz/fuzz_$(TARGET)
	@mkdir -p $(BUILD)/fuzz/corpus/$(TARGET) tests/fuzz/corpus/$(TARGET)
	$(BUILD)/fuzz/fuzz_$(TARGET) -max_total_time=$(SECONDS) -timeout=10 -artifact_prefix=$(BUILD)/fuzz/$(TARGET)- \
		$(BUILD)/fuzz/corpus/$(TARGET) tests/fuzz/corpus/$(TARGET)

coverage: ## lines covered by the unit and end-to-end tests, by file
	@$(PYTHON) -B tests/coverage.py $(BUILD)/cov

mutants: all ## every planted fault must turn its end-to-end subject red
	@$(PYTHON) -B tests/mutants.py $(ARGS)

# ------------------------------------------------------------------------------------------------- demo and bench

demo: deps-demo ## a guest, your home in it, its web server on your localhost
	@+$(again) all
	@BUILD=$(BUILD) tests/lab/demo.sh

demo-shell: deps-demo ## the same, and leaves you in the guest
	@+$(again) all
	@BUILD=$(BUILD) tests/lab/demo.sh --shell

docs-picture: deps-demo ## what README.md and docs/session.svg show of a session, from a real one
	@+$(again) all
	@HOMEPORT_BUILD=$$(realpath $(BUILD)) $(PYTHON) -B tests/docs/picture.py

docs-plots: bench ## docs/bench-*.svg and their page, from a bench of this machine
	@$(PYTHON) -B tests/docs/plots.py $(BUILD)/bench docs

bench: deps ## figures beside sshfs, ssh -L and native, into $(BUILD)/bench
	@+$(again) all $(BUILD)/bench/echo
	@$(PYTHON) -B tests/bench/bench.py --build $(BUILD) $(ARGS)

# ------------------------------------------------------------------------------------------------- lint and format

C_FILES = $(wildcard common/*.[ch] host-agent/*.[ch] guest-agent/*.[ch] tests/unit/*.[ch] tests/fuzz/*.[ch] \
	tests/posix/*.[ch] tests/bench/*.[ch])

$(BUILD)/bench/mux_bench: tests/bench/mux_bench.c $(BUILD)/rel/libcommon.a
	@mkdir -p $(@D)
	$(call step,LD)
	$(Q)$(CC) $(CFLAGS_rel) $(INC_common) -o $@ $^ $(LIBS_common)

$(BUILD)/bench/echo: tests/bench/echo.c
	@mkdir -p $(@D)
	$(call step,LD)
	$(Q)$(CC) $(CFLAGS_rel) -o $@ $<

lint: ## clang-tidy, cppcheck, man pages, links, shell scripts, house rules
	@CPP_FLAGS='$(filter-out -DHOMEPORT_VERSION%,$(CPP))' FUSE_FLAGS='$(INC_guest-agent)' tests/lint/lint.sh $(ARGS)

format: ## clang-format every C file in place
	clang-format -i $(C_FILES)

# --------------------------------------------------------------------------------------------------------- install

SCHEMA = $(BUILD)/homeport.schema.json
$(SCHEMA): $(BUILD)/homeport
	$(call step,GEN)
	$(Q)$< config schema >$@

# The folders of the GNU Coding Standards, and those of the programs that read what is installed there: each may be
# given on the command line, to `uninstall` as to `install`.
prefix      = $(PREFIX)
exec_prefix = $(prefix)
bindir      = $(exec_prefix)/bin
libexecdir  = $(exec_prefix)/libexec
datarootdir = $(prefix)/share
datadir     = $(datarootdir)
mandir      = $(datarootdir)/man
docdir      = $(datarootdir)/doc/homeport
man1dir     = $(mandir)/man1
man5dir     = $(mandir)/man5
man8dir     = $(mandir)/man8
systemduserunitdir     = $(prefix)/lib/systemd/user
systemdsystemunitdir   = $(prefix)/lib/systemd/system
systemduserpresetdir   = $(prefix)/lib/systemd/user-preset
systemdsystempresetdir = $(prefix)/lib/systemd/system-preset
tmpfilesdir            = $(prefix)/lib/tmpfiles.d
bashcompletiondir      = $(datadir)/bash-completion/completions
zshcompletiondir       = $(datadir)/zsh/site-functions
fishcompletiondir      = $(datadir)/fish/vendor_completions.d

# Only files that are there.
MAN1 = $(wildcard host-agent/*.1)
MAN5 = $(wildcard host-agent/*.5)
MAN8 = $(wildcard guest-agent/*.8)
DOCS = $(wildcard docs/*.md docs/*.svg)
USER_UNITS   = $(wildcard systemd/homeport@.service)
SYSTEM_UNITS = $(filter-out $(USER_UNITS),$(wildcard systemd/*.service systemd/*.socket))
TMPFILES     = $(wildcard systemd/tmpfiles.d/*.conf)
# Restarts that come in steps are an unknown key to a systemd before 254.
SYSTEMD      = $(shell systemctl --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
STEPS        = $(shell [ "$(SYSTEMD)" -ge 254 ] 2>/dev/null && echo systemd/restart-steps.conf)

# At its place: $(call at,folder,files).
at = $(addprefix $(DESTDIR)$1/,$(notdir $2))
# The drop-ins of those units that are started again: $(call steps_at,folder,files).
RESTARTED = $(shell grep -l '^Restart=' systemd/*.service)
steps_at = $(addsuffix .d/restart-steps.conf,$(call at,$1,$(filter $(RESTARTED),$2)))
OWN_FOLDERS = $(sort $(dir $(call steps_at,$(systemduserunitdir),$(USER_UNITS)) \
	$(call steps_at,$(systemdsystemunitdir),$(SYSTEM_UNITS)))) $(DESTDIR)$(datadir)/homeport $(DESTDIR)$(docdir)
LIBEXEC = $(DESTDIR)$(libexecdir)/homeport
INSTALLED = $(call at,$(bindir),$(PROGRAMS)) $(LIBEXEC)/*/homeport-guest \
	$(call at,$(man1dir),$(MAN1)) $(call at,$(man5dir),$(MAN5)) $(call at,$(man8dir),$(MAN8)) \
	$(call at,$(docdir),$(DOCS)) \
	$(call at,$(systemduserunitdir),$(USER_UNITS)) $(call steps_at,$(systemduserunitdir),$(USER_UNITS)) \
	$(call at,$(systemdsystemunitdir),$(SYSTEM_UNITS)) $(call steps_at,$(systemdsystemunitdir),$(SYSTEM_UNITS)) \
	$(call at,$(systemduserpresetdir),$(USER_PRESET)) $(call at,$(systemdsystempresetdir),$(SYSTEM_PRESET)) \
	$(call at,$(tmpfilesdir),$(TMPFILES)) $(call at,$(datadir)/homeport,$(SCHEMA)) \
	$(DESTDIR)$(bashcompletiondir)/homeport $(DESTDIR)$(zshcompletiondir)/_homeport \
	$(DESTDIR)$(fishcompletiondir)/homeport.fish
# A unit names its program by where that is installed. Which units are switched on unasked is said beside them.
USER_PRESET   = systemd/80-homeport.preset
SYSTEM_PRESET = systemd/80-homeport-guest.preset

# $(call install_files,mode,folder,files)
define install_files
	$(if $3,install -d $(DESTDIR)$2)
	$(if $3,install -m $1 $3 $(DESTDIR)$2)
endef

# $(call install_units,folder,files)
define install_units
	install -d $(DESTDIR)$1
	$(foreach u,$2,sed 's,/usr/local/bin/,$(bindir)/,' $u | install -m 644 /dev/stdin $(call at,$1,$u) &&) :
	$(foreach f,$(if $(STEPS),$(call steps_at,$1,$2)),install -D -m 644 $(STEPS) $f &&) :
endef

install: all $(SCHEMA) ## DESTDIR= PREFIX=/usr/local, bindir= mandir= and the like
	$(call install_files,755,$(bindir),$(PROGRAMS:%=$(BUILD)/%))
	$(call install_files,644,$(man1dir),$(MAN1))
	$(call install_files,644,$(man5dir),$(MAN5))
	$(call install_files,644,$(man8dir),$(MAN8))
	$(call install_files,644,$(docdir),$(DOCS))
	$(call install_units,$(systemduserunitdir),$(USER_UNITS))
	$(call install_units,$(systemdsystemunitdir),$(SYSTEM_UNITS))
	$(call install_files,644,$(systemduserpresetdir),$(USER_PRESET))
	$(call install_files,644,$(systemdsystempresetdir),$(SYSTEM_PRESET))
	$(call install_files,644,$(tmpfilesdir),$(TMPFILES))
	$(call install_files,644,$(datadir)/homeport,$(SCHEMA))
	install -D -m 644 host-agent/homeport.bash-completion $(DESTDIR)$(bashcompletiondir)/homeport
	install -D -m 644 host-agent/homeport.zsh-completion $(DESTDIR)$(zshcompletiondir)/_homeport
	install -D -m 644 host-agent/homeport.fish $(DESTDIR)$(fishcompletiondir)/homeport.fish
	cd $(BUILD)/guests && for g in */homeport-guest; do install -D -m 755 $$g $(abspath $(LIBEXEC))/$$g; done

uninstall: ## removes what install put there
	rm -f $(INSTALLED)
	for d in $(LIBEXEC)/* $(LIBEXEC) $(OWN_FOLDERS); do \
		[ ! -d $$d ] || rmdir --ignore-fail-on-non-empty $$d; done

# ------------------------------------------------------------------------------------------------------- packages

# In a copy, because Debian's tools write into debian/ and beside the sources; and with nothing of what was said to this
# make, which is about another build.
DEB_SOURCES = LICENSE Makefile README.md common debian docs guest-agent host-agent systemd
DEB = $(BUILD)/deb
deb: ## Debian packages homeport and homeport-guest, into $(BUILD)/deb
	@command -v dh >/dev/null || \
		{ echo "make deb: debhelper is not here; install it with: sudo apt-get build-dep ." >&2; exit 1; }
	@rm -rf $(DEB)
	@mkdir -p $(DEB)/source
	@cp -R $(DEB_SOURCES) $(DEB)/source
	@cd $(DEB)/source && env -i PATH="$$PATH" HOME="$$HOME" DEB_BUILD_OPTIONS="$$DEB_BUILD_OPTIONS" \
		dpkg-buildpackage -us -uc -b -J$(shell nproc) >../build.log 2>&1 || { cat ../build.log >&2; exit 1; }
	@rm -rf $(DEB)/source
	@ls $(DEB)/*.deb

clean: ## removes $(BUILD)
	rm -rf $(BUILD)

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

-include $(shell test -d $(BUILD) && find $(BUILD) \( -path $(BUILD)/vm -o -path $(BUILD)/deb \) -prune -o \
	-name '*.d' -print)
