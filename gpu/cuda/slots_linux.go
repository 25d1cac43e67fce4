package cuda

import (
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"unsafe"

	"github.com/ebitengine/purego"
	"golang.org/x/sys/unix"
)

// Numbers of the loader's and of ELF's own.
const (
	dlNoLoad  = 4 // RTLD_NOLOAD: only what is loaded already
	dlLinkMap = 2 // RTLD_DI_LINKMAP

	tagStrings     = 5  // DT_STRTAB
	tagSymbols     = 6  // DT_SYMTAB
	tagRela        = 7  // DT_RELA
	tagRelaSize    = 8  // DT_RELASZ
	tagPltRelaSize = 2  // DT_PLTRELSZ
	tagPltRela     = 23 // DT_JMPREL
)

// linkMap is the beginning of a loaded library's entry, as link.h has it.
type linkMap struct {
	base    uintptr // what the file's addresses are relative to
	_       *byte   // its name
	dynamic uintptr
}

type dynamicEntry struct {
	tag   int64
	value uintptr
}

// relocation is an Elf64_Rela.
type relocation struct {
	offset uintptr
	info   uint64 // the symbol's number, and in the low half how it is filled in
	_      int64  // what is added
}

// elfSymbol is an Elf64_Sym.
type elfSymbol struct {
	name uint32 // where it begins in the strings
	_    [20]byte
}

// filledIn are the relocations that put a function's address into a slot, by machine.
var filledIn = map[string][]uint32{
	"amd64": {1, 6, 7},         // R_X86_64_64, GLOB_DAT, JUMP_SLOT
	"arm64": {257, 1025, 1026}, // R_AARCH64_ABS64, GLOB_DAT, JUMP_SLOT
}

// openLoaded returns the handle of a library that is loaded already, under whatever name it was found.
func openLoaded(path string) (uintptr, error) {
	lib, err := purego.Dlopen(path, purego.RTLD_NOW|dlNoLoad)
	if err != nil {
		return 0, fmt.Errorf("the library is not loaded: %w", err)
	}
	return lib, nil
}

// importSlots returns the addresses of the slots through which a library reaches what it imports, by name. It reads what
// the loader has in memory, so that the file may be gone.
func importSlots(lib uintptr) (map[string][]uintptr, error) {
	address, err := purego.Dlsym(purego.RTLD_DEFAULT, "dlinfo")
	if err != nil {
		return nil, err
	}
	var dlinfo func(lib uintptr, request int32, out **linkMap) int32
	purego.RegisterFunc(&dlinfo, address)
	var loaded *linkMap
	if dlinfo(lib, dlLinkMap, &loaded) != 0 || loaded == nil {
		return nil, fmt.Errorf("the loader does not say where the library is")
	}
	dynamic := map[int64]uintptr{}
	for at := loaded.dynamic; ; at += unsafe.Sizeof(dynamicEntry{}) {
		e := memory[dynamicEntry](at)
		if e.tag == 0 {
			break
		}
		dynamic[e.tag] = e.value
	}
	table := func(tag int64) uintptr { // glibc makes these absolute, others leave them as they are in the file
		if dynamic[tag] < loaded.base {
			return dynamic[tag] + loaded.base
		}
		return dynamic[tag]
	}
	symbols, strings := table(tagSymbols), table(tagStrings)
	slots := map[string][]uintptr{}
	for _, t := range []struct{ at, size int64 }{{tagPltRela, tagPltRelaSize}, {tagRela, tagRelaSize}} {
		if dynamic[t.at] == 0 {
			continue
		}
		for at, end := table(t.at), table(t.at)+dynamic[t.size]; at < end; at += unsafe.Sizeof(relocation{}) {
			r := memory[relocation](at)
			number := uintptr(r.info >> 32)
			if number == 0 || !fillsIn(uint32(r.info)) {
				continue
			}
			sym := memory[elfSymbol](symbols + number*unsafe.Sizeof(elfSymbol{}))
			name := unix.BytePtrToString(memory[byte](strings + uintptr(sym.name)))
			slots[name] = append(slots[name], loaded.base+r.offset)
		}
	}
	return slots, nil
}

func fillsIn(kind uint32) bool {
	for _, k := range filledIn[runtime.GOARCH] {
		if k == kind {
			return true
		}
	}
	return false
}

// setSlot makes a slot lead to another function. Its page may be read-only by now, and stays writable.
func setSlot(slot, function uintptr) error {
	size := uintptr(os.Getpagesize())
	page := unsafe.Slice(memory[byte](slot&^(size-1)), size)
	if err := unix.Mprotect(page, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		return os.NewSyscallError("mprotect", err)
	}
	atomic.StoreUintptr(memory[uintptr](slot), function)
	return nil
}

// memory returns what is at an address that C gave: not in Go's memory, so the collector can't move or free it.
func memory[T any](address uintptr) *T { return *(**T)(unsafe.Pointer(&address)) }
