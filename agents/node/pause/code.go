package pause

import "encoding/binary"

// amd64 assembles the program for x86-64. System calls: 13 rt_sigaction, 34 pause, 231 exit_group.
func amd64(ignore, end uint64) (code []byte, handler int) {
	imm := func(op byte, v uint32) []byte { return binary.LittleEndian.AppendUint32([]byte{op}, v) }
	action := func(signal uint32, act uint64) {
		code = append(code, imm(0xbf, signal)...)              // mov edi, signal
		code = append(code, imm(0xbe, uint32(act))...)         // mov esi, act
		code = append(code, 0x31, 0xd2)                        // xor edx, edx
		code = append(code, 0x41, 0xba, 8, 0, 0, 0)            // mov r10d, 8
		code = append(append(code, imm(0xb8, 13)...), 0xf, 05) // mov eax, 13; syscall
	}
	action(sigchld, ignore)
	action(sigint, end)
	action(sigterm, end)
	code = append(append(code, imm(0xb8, 34)...), 0x0f, 0x05, 0xeb, 0xf7) // mov eax, 34; syscall; jmp back
	handler = len(code)
	code = append(code, 0x31, 0xff)                                 // xor edi, edi
	return append(append(code, imm(0xb8, 231)...), 0xf, 5), handler // mov eax, 231; syscall
}

// arm64 assembles the program for AArch64. System calls: 134 rt_sigaction, 73 ppoll, 94 exit_group.
func arm64(ignore, end uint64) (code []byte, handler int) {
	emit := func(instruction uint32) { code = binary.LittleEndian.AppendUint32(code, instruction) }
	movz := func(reg, v uint32) { emit(0xd2800000 | (v&0xffff)<<5 | reg) }
	call := func(number uint32) { movz(8, number); emit(0xd4000001) } // mov x8, number; svc #0
	action := func(signal uint32, act uint64) {
		movz(0, signal)
		movz(1, uint32(act))
		emit(0xf2a00000 | uint32(act>>16)<<5 | 1) // movk x1, act>>16, lsl #16
		movz(2, 0)
		movz(3, 8)
		call(134)
	}
	action(sigchld, ignore)
	action(sigint, end)
	action(sigterm, end)
	loop := len(code)
	for reg := uint32(0); reg < 5; reg++ {
		movz(reg, 0)
	}
	call(73)
	emit(0x14000000 | uint32((loop-len(code))/4)&0x03ffffff) // b loop
	handler = len(code)
	movz(0, 0)
	call(94)
	return code, handler
}
