//! The float environment that compiled code is made for: rounding to nearest even, subnormals kept, no traps.
//!
//! It belongs to a thread, and libraries change it (fast-math start-up code flushes subnormals to zero), so it
//! is set wherever a thread starts to run kernels.

/// Sets the environment of this thread until dropped, then puts back what was there.
#[derive(Debug)]
pub struct FloatMode {
    before: Register,
    /// It is the thread's own.
    _this_thread: std::marker::PhantomData<*const ()>,
}

impl FloatMode {
    pub fn enter() -> FloatMode {
        let before = read();
        if before != DEFAULT {
            write(DEFAULT);
        }
        FloatMode { before, _this_thread: std::marker::PhantomData }
    }
}

impl Drop for FloatMode {
    fn drop(&mut self) {
        if self.before != DEFAULT {
            write(self.before);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod register {
    pub type Register = u32;

    /// All exceptions masked, nearest even, neither FTZ nor DAZ.
    pub const DEFAULT: Register = 0x1f80;
    /// Control bits; the others are sticky flags of past exceptions.
    const CONTROL: Register = 0xffc0;

    pub fn read() -> Register {
        let mut now: Register = 0;
        // SAFETY: stores MXCSR into a variable of its size.
        unsafe {
            std::arch::asm!("stmxcsr [{}]", in(reg) &mut now, options(nostack, preserves_flags));
        }
        now & CONTROL
    }

    pub fn write(to: Register) {
        // SAFETY: loads MXCSR with defined bits only. Rust code in its scope that uses floats means the default
        // environment, which is what `enter` restores.
        unsafe {
            std::arch::asm!("ldmxcsr [{}]", in(reg) &to, options(nostack, preserves_flags));
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod register {
    pub type Register = u64;

    /// Nearest even, neither FZ nor DN, no traps.
    pub const DEFAULT: Register = 0;

    pub fn read() -> Register {
        let now: Register;
        // SAFETY: reads a register of this thread.
        unsafe { std::arch::asm!("mrs {}, fpcr", out(reg) now, options(nomem, nostack, preserves_flags)) }
        now
    }

    pub fn write(to: Register) {
        // SAFETY: as for x86-64.
        unsafe { std::arch::asm!("msr fpcr, {}", in(reg) to, options(nostack, preserves_flags)) }
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod register {
    pub type Register = ();

    pub const DEFAULT: Register = ();

    pub fn read() -> Register {}

    pub fn write((): Register) {}
}

use register::{DEFAULT, Register, read, write};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn subnormals_are_kept_inside_and_the_mode_restored_outside() {
        let half = |x: f32| std::hint::black_box(x) * std::hint::black_box(0.5);
        let flushing = DEFAULT | 0x8040;
        write(flushing);
        assert_eq!(half(f32::MIN_POSITIVE), 0.0);
        {
            let _mode = FloatMode::enter();
            assert_eq!(half(f32::MIN_POSITIVE), f32::from_bits(0x0040_0000));
        }
        assert_eq!(read(), flushing);
        write(DEFAULT);
    }
}
