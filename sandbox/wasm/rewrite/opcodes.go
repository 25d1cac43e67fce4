package rewrite

// Value types that are no numbers.
const (
	typeV128      byte = 0x7b
	typeFuncref   byte = 0x70
	typeExternref byte = 0x6f
	typeExnref    byte = 0x69
	typeRefNull   byte = 0x63 // followed by a heap type
	typeRef       byte = 0x64 // followed by a heap type
	typeFunc      byte = 0x60 // the form of a function type
	typeGroup     byte = 0x4e // the form of a group of types that refer to one another
	typeEmpty     byte = 0x40 // the type of a block without values
)

// Sections, by their numbers in the binary format.
const (
	secCustom = iota
	secType
	secImport
	secFunction
	secTable
	secMemory
	secGlobal
	secExport
	secStart
	secElement
	secCode
	secData
	secDataCount
	secTag
	secEnd // one more than the last
)

// sectionOrder is the order that the binary format demands: it is not that of the numbers.
var sectionOrder = [...]byte{
	secType, secImport, secFunction, secTable, secMemory, secTag, secGlobal, secExport, secStart, secElement,
	secDataCount, secCode, secData,
}

var sectionNames = [...]string{
	"a custom section", "the type section", "the import section", "the function section", "the table section",
	"the memory section", "the global section", "the export section", "the start section", "the element section",
	"the code section", "the data section", "the data count section", "the tag section",
}

// Instructions that Rewrite emits or has to know by name.
const (
	opBlock        = 0x02
	opLoop         = 0x03
	opIf           = 0x04
	opTry          = 0x06 // of the exception handling that was given up; so are catch, rethrow, delegate, catch_all
	opCatch        = 0x07
	opThrow        = 0x08
	opRethrow      = 0x09
	opEnd          = 0x0b
	opBr           = 0x0c
	opBrIf         = 0x0d
	opBrTable      = 0x0e
	opCall         = 0x10
	opCallIndirect = 0x11
	opReturnCall   = 0x12
	opReturnCallIn = 0x13
	opCallRef      = 0x14
	opReturnCallRf = 0x15
	opDelegate     = 0x18
	opCatchAll     = 0x19
	opSelectTyped  = 0x1c
	opTryTable     = 0x1f
	opGlobalGet    = 0x23
	opGlobalSet    = 0x24
	opTableSet     = 0x26
	opI32Const     = 0x41
	opI64Const     = 0x42
	opF32Const     = 0x43
	opF64Const     = 0x44
	opI32LeS       = 0x4c
	opI32Add       = 0x6a
	opI32Sub       = 0x6b
	opI32Mul       = 0x6c
	opI64Add       = 0x7c
	opI64Sub       = 0x7d
	opI64Mul       = 0x7e
	opRefNull      = 0xd0
	opRefFunc      = 0xd2
	opBrOnNull     = 0xd5
	opBrOnNonNull  = 0xd6
	opMisc         = 0xfc
	opVector       = 0xfd
	opAtomic       = 0xfe
	opVectorConst  = 12 // after opVector
)

// Instructions after opMisc.
const (
	miscMemoryInit = 8
	miscDataDrop   = 9
	miscMemoryCopy = 10
	miscMemoryFill = 11
	miscTableInit  = 12
	miscElemDrop   = 13
	miscTableCopy  = 14
	miscTableGrow  = 15
	miscTableSize  = 16
	miscTableFill  = 17
)
