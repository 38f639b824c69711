// The only glue between the two compilers: asc's integer types are plain numbers to tsc.
declare type u8 = number;
declare type u16 = number;
declare type u32 = number;
