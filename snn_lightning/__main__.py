from snn_lightning.start import main

if __name__ == "__main__":
    main()
