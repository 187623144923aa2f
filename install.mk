# Installs the C library: `make install PREFIX=/usr/local DESTDIR=`. Included by Makefile; works alone too.

PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
PKGCONFIGDIR ?= $(LIBDIR)/pkgconfig
# Two below LIBDIR: llmrl-config.cmake finds the library by that.
CMAKEDIR := $(LIBDIR)/cmake/llmrl
CARGO ?= cargo
INSTALL ?= install
# Where the built libraries are.
LLMRL_BUILD ?= $(or $(CARGO_TARGET_DIR),target)/release

LLMRL_VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

# File names: the real one, the one that programs ask for at run time (build.rs), the one that the linker looks for.
ifeq ($(shell uname -s),Darwin)
LLMRL_BUILT := libllmrl.dylib
LLMRL_REAL := libllmrl.$(LLMRL_VERSION).dylib
LLMRL_SONAME := libllmrl.0.dylib
# What rustc's standard library needs when it is linked statically, beyond what every C compiler adds.
LLMRL_PRIVATE := -lm
else
LLMRL_BUILT := libllmrl.so
LLMRL_REAL := libllmrl.so.$(LLMRL_VERSION)
LLMRL_SONAME := libllmrl.so.0
LLMRL_PRIVATE := -lpthread -ldl -lrt -lm
endif

# What is filled into the files that pkg-config and CMake read.
FILL = sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' \
	-e 's|@VERSION@|$(LLMRL_VERSION)|' -e 's|@PRIVATE@|$(LLMRL_PRIVATE)|' \
	-e 's|@BUILT@|$(LLMRL_BUILT)|' -e 's|@SONAME@|$(LLMRL_SONAME)|'

.PHONY: install install-files uninstall

install:
	$(CARGO) build --release --lib
	@$(MAKE) -f $(firstword $(MAKEFILE_LIST)) --no-print-directory install-files

# Without building: packagers may have built elsewhere, or as another user.
install-files:
	$(INSTALL) -d "$(DESTDIR)$(LIBDIR)" "$(DESTDIR)$(INCLUDEDIR)" "$(DESTDIR)$(PKGCONFIGDIR)" "$(DESTDIR)$(CMAKEDIR)"
	$(INSTALL) -m 755 "$(LLMRL_BUILD)/$(LLMRL_BUILT)" "$(DESTDIR)$(LIBDIR)/$(LLMRL_REAL)"
	ln -sf $(LLMRL_REAL) "$(DESTDIR)$(LIBDIR)/$(LLMRL_SONAME)"
	ln -sf $(LLMRL_SONAME) "$(DESTDIR)$(LIBDIR)/$(LLMRL_BUILT)"
	$(INSTALL) -m 644 "$(LLMRL_BUILD)/libllmrl.a" "$(DESTDIR)$(LIBDIR)/libllmrl.a"
	$(INSTALL) -m 644 include/llmrl.h include/llmrl.hpp "$(DESTDIR)$(INCLUDEDIR)"
	$(FILL) llmrl.pc.in > "$(DESTDIR)$(PKGCONFIGDIR)/llmrl.pc"
	$(FILL) llmrl-config.cmake.in > "$(DESTDIR)$(CMAKEDIR)/llmrl-config.cmake"
	$(FILL) llmrl-config-version.cmake.in > "$(DESTDIR)$(CMAKEDIR)/llmrl-config-version.cmake"
	chmod 644 "$(DESTDIR)$(PKGCONFIGDIR)/llmrl.pc" "$(DESTDIR)$(CMAKEDIR)"/*.cmake

uninstall:
	rm -f "$(DESTDIR)$(LIBDIR)/$(LLMRL_REAL)" "$(DESTDIR)$(LIBDIR)/$(LLMRL_SONAME)" \
	    "$(DESTDIR)$(LIBDIR)/$(LLMRL_BUILT)" "$(DESTDIR)$(LIBDIR)/libllmrl.a" \
	    "$(DESTDIR)$(INCLUDEDIR)/llmrl.h" "$(DESTDIR)$(INCLUDEDIR)/llmrl.hpp" "$(DESTDIR)$(PKGCONFIGDIR)/llmrl.pc"
	rm -rf "$(DESTDIR)$(CMAKEDIR)"
