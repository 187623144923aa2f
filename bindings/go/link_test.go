package llmrl

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A program that has another Rust library in it, both of which catch panics, links, runs, and needs no library of ours.
func TestBesideAnotherRustLibrary(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("builds a program")
	}
	rustc, err := exec.LookPath("rustc")
	if err != nil {
		t.Skip("needs rustc")
	}
	here := must(filepath.Abs("."))
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module program\ngo 1.24\nrequire github.com/libllmrl/libllmrl/bindings/go v0.0.0\n" +
			"replace github.com/libllmrl/libllmrl/bindings/go => " + here + "\n",
		"main.go": `package main

// #cgo LDFLAGS: ${SRCDIR}/libother.a
// int other(void);
import "C"
import llmrl "github.com/libllmrl/libllmrl/bindings/go"

func main() {
	l, err := llmrl.New(nil, llmrl.Requests(1))
	println(err == nil, l.Allow(), l.Allow(), C.other())
}
`,
		"other.rs": `#[unsafe(no_mangle)]
pub extern "C" fn other() -> i32 {
    std::panic::set_hook(Box::new(|_| {}));
    std::panic::catch_unwind(|| if std::env::args().count() < 9 { panic!() } else { 0 }).unwrap_or(42)
}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run := func(name string, arguments ...string) string {
		t.Helper()
		command := exec.Command(name, arguments...)
		command.Dir = dir
		out, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		return string(out)
	}
	run(rustc, "--edition", "2024", "-C", "opt-level=1", "--crate-type", "staticlib", "other.rs", "-o", "libother.a")
	run("go", "build", "-o", "program", ".")
	if got := run("./program"); got != "true true false 42\n" {
		t.Error(got)
	}
	if needed := run("readelf", "-d", "program"); strings.Contains(needed, "llmrl") || strings.Contains(needed, "gcc_s") {
		t.Error(needed)
	}
}
